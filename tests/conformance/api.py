"""What the driver asks of podwired."""
import lab.api


class ApiError(Exception):
    """A call that podwired refused; its message."""


def key_of(container):
    return {"container_id": container, "ifname": "eth0"}


class Api:
    """One connection."""

    def __init__(self, socket):
        self.client = lab.api.Api().connect(socket)

    def close(self):
        self.client.channel.close()

    def _call(self, service, method, **fields):
        try:
            return self.client(service, method, timeout=30, **fields)
        except RuntimeError as e:
            raise ApiError(str(e)) from None

    def explain(self, queries):
        """An Explanation for each (from, to, protocol, port), all of one moment."""
        return self._call("Inspect", "ExplainMany", queries=[
            {"from": source, "to": target, "protocol": protocol.lower(), "port": port} for source, target, protocol, port in queries])

    def apply(self, documents):
        self._call("Objects", "Apply", json=documents)

    def delete(self, keys):
        self._call("Objects", "Delete", objects=[{"kind": kind, "namespace": namespace, "name": name} for kind, namespace, name in keys])

    def attach(self, container, netns, pod, addresses, **more):
        namespace, name = pod.split("/")
        return self._call("Endpoints", "Attach", key=key_of(container), netns=netns, network="conformance", pod_namespace=namespace,
                          pod_name=name, addresses=addresses, **more).endpoint

    def detach(self, container):
        self._call("Endpoints", "Detach", key=key_of(container))
