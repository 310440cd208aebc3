# In one thread: Python's TLS may lose what two threads read and write at once, as the client of `websockets.sync` does.
import asyncio, sys
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


async def main(url):
    async with connect(url + "/open", max_size=None) as socket:
        await socket.send("hello")
        print("text", await socket.recv())
        await socket.send(bytes(2_000_000))
        print("binary", len(await socket.recv()))
        await asyncio.wait_for(await socket.ping(), 10)
        print("ping ok")
        await socket.close()
        print("closed", socket.close_code)
    try:
        await connect(url + "/secret")
    except InvalidStatus as refused:
        print("secret", refused.response.status_code)


asyncio.run(main(sys.argv[1]))
