"""podwired's gRPC API in Python, without generated stubs: calls by the names that proto/ gives them."""
import importlib
import os
import shutil
import subprocess
import sys
import tempfile

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto")


class Api:
    """The generated messages and plain calls of the services; made from proto/ at start, in a temporary directory."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="podwire-proto-")
        base = os.path.join(PROTO, "podwire", "v1")
        files = [os.path.join(base, f) for f in os.listdir(base) if f.endswith(".proto")]
        subprocess.run(["protoc", f"-I{base}", f"--python_out={self.dir}", *files], check=True)
        sys.path.insert(0, self.dir)
        self.modules = {name: importlib.import_module(f"{name}_pb2") for name in ("endpoints", "inspect", "objects", "ports")}
        shutil.rmtree(self.dir)

    def connect(self, socket):
        import grpc  # here, for the benchmark checks its command line before it is installed
        return Client(self, grpc.insecure_channel(f"unix:{socket}"))


class Client:
    """One connection."""

    def __init__(self, api, channel):
        self.api, self.channel, self.calls = api, channel, {}

    def __call__(self, service, method, timeout=60, **fields):
        """Client("Inspect", "GetStatus") returns the response, of a streaming call the list of them; RuntimeError."""
        import grpc
        key = (service, method)
        if key not in self.calls:
            from google.protobuf.descriptor_pb2 import MethodDescriptorProto
            module = self.api.modules[service.lower()]
            rpc = module.DESCRIPTOR.services_by_name[service].methods_by_name[method]
            request, response = (getattr(module, t.name) for t in (rpc.input_type, rpc.output_type))
            described = MethodDescriptorProto()
            rpc.CopyToProto(described)
            streams = described.server_streaming
            make = self.channel.unary_stream if streams else self.channel.unary_unary
            self.calls[key] = request, streams, make(
                f"/podwire.v1.{service}/{method}", request_serializer=request.SerializeToString,
                response_deserializer=response.FromString)
        request, streams, call = self.calls[key]
        try:
            response = call(request(**fields), timeout=timeout)
            return list(response) if streams else response
        except grpc.RpcError as error:
            raise RuntimeError(f"{service}.{method}: {error.code().name}: {error.details()}") from error
