import sys
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

with connect(sys.argv[1] + "/open", max_size=None) as socket:
    socket.send("hello")
    print("text", socket.recv())
    socket.send(bytes(2_000_000))
    print("binary", len(socket.recv()))
    print("ping", "ok" if socket.ping().wait(10) else "lost")
    socket.close()
    print("closed", socket.close_code)
try:
    connect(sys.argv[1] + "/secret")
except InvalidStatus as refused:
    print("secret", refused.response.status_code)
