import asyncio, ssl, sys
from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain("cert.pem", "key.pem")
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), ssl=tls, max_size=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
