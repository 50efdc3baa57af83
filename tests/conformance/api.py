"""podwired's gRPC API: messages by protoc, calls by name."""
import glob
import os
import subprocess
import sys

import grpc

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../proto/podwire/v1")


class ApiError(Exception):
    """A call that podwired refused; its message."""


class Api:
    """One connection. `directory` takes the generated modules."""

    def __init__(self, socket, directory):
        subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={directory}", *glob.glob(f"{PROTO}/*.proto")], check=True)
        sys.path.insert(0, directory)
        import endpoints_pb2
        import inspect_pb2
        import objects_pb2
        self.endpoints, self.inspect, self.objects = endpoints_pb2, inspect_pb2, objects_pb2
        self.channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.enable_http_proxy", 0)])

    def _call(self, name, request, answer, stream=False, timeout=30):
        kind = self.channel.unary_stream if stream else self.channel.unary_unary
        call = kind(f"/podwire.v1.{name}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer.FromString)
        try:
            return list(call(request, timeout=timeout)) if stream else call(request, timeout=timeout)
        except grpc.RpcError as e:
            raise ApiError(f"{name}: {e.details()}") from None

    def explain(self, queries):
        """An Explanation for each (from, to, protocol, port), all of one moment."""
        request = self.inspect.ExplainManyRequest()
        for source, target, protocol, port in queries:
            request.queries.add(**{"from": source, "to": target, "protocol": protocol.lower(), "port": port})
        return self._call("Inspect/ExplainMany", request, self.inspect.Explanation, stream=True)

    def apply(self, documents):
        self._call("Objects/Apply", self.objects.ApplyRequest(json=documents), self.objects.ApplyResponse)

    def delete(self, keys):
        objects = [self.objects.ObjectKey(kind=kind, namespace=namespace, name=name) for kind, namespace, name in keys]
        self._call("Objects/Delete", self.objects.DeleteRequest(objects=objects), self.objects.DeleteResponse)

    def attach(self, container, netns, pod, addresses, **more):
        namespace, name = pod.split("/")
        request = self.endpoints.AttachRequest(
            key=self.endpoints.AttachmentKey(container_id=container, ifname="eth0"), netns=netns, network="conformance",
            pod_namespace=namespace, pod_name=name, addresses=addresses, **more)
        return self._call("Endpoints/Attach", request, self.endpoints.AttachResponse).endpoint

    def detach(self, container):
        key = self.endpoints.AttachmentKey(container_id=container, ifname="eth0")
        self._call("Endpoints/Detach", self.endpoints.DetachRequest(key=key), self.endpoints.DetachResponse)
