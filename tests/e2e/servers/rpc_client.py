import sys
import grpc

target, tls = sys.argv[1], sys.argv[2] == "true"
channel = grpc.secure_channel(target, grpc.ssl_channel_credentials()) if tls else grpc.insecure_channel(target)


def code(method):
    try:
        channel.unary_unary(method)(b"x", timeout=10)
        return "answered"
    except grpc.RpcError as error:
        return error.code().name


def numbers():
    for n in range(1, 4):
        yield b"%d" % n


answer, call = channel.unary_unary("/echo.Echo/Unary").with_call(b"hello", timeout=10)
print("unary", answer.decode())
print("server", *(n.decode() for n in channel.unary_stream("/echo.Echo/Server")(b"", timeout=10)))
print("client", channel.stream_unary("/echo.Echo/Client")(numbers(), timeout=10).decode())
print("both", *(n.decode() for n in channel.stream_stream("/echo.Echo/Both")(numbers(), timeout=10)))
print("trailer", dict(call.trailing_metadata())["x-trailer"])
print("missing", code("/echo.Echo/Missing"))
print("secret", code("/echo.Echo/Secret"))
