import os, sys
from concurrent import futures
import grpc

raw = {"request_deserializer": bytes, "response_serializer": bytes}


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "yes"),))
    return request


def server(request, context):
    for n in range(3):
        yield b"%d" % n


def client(requests, context):
    return b"%d" % sum(int(request) for request in requests)


def both(requests, context):
    yield from requests


def missing(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary, **raw),
    "Server": grpc.unary_stream_rpc_method_handler(server, **raw),
    "Client": grpc.stream_unary_rpc_method_handler(client, **raw),
    "Both": grpc.stream_stream_rpc_method_handler(both, **raw),
    "Missing": grpc.unary_unary_rpc_method_handler(missing, **raw),
    "Secret": grpc.unary_unary_rpc_method_handler(unary, **raw),
}
rpc = grpc.server(futures.ThreadPoolExecutor(8))
rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
address = "127.0.0.1:" + sys.argv[1]
if os.path.exists("key.pem"):
    pair = (open("key.pem", "rb").read(), open("cert.pem", "rb").read())
    rpc.add_secure_port(address, grpc.ssl_server_credentials([pair]))
else:
    rpc.add_insecure_port(address)
rpc.start()
rpc.wait_for_termination()
