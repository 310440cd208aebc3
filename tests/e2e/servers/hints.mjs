// An origin that hints at what its answer will need, some time before it answers. Its port is its argument.
import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';

const settings = { cert: readFileSync('cert.pem'), key: readFileSync('key.pem'), allowHTTP1: true };
createSecureServer(settings, (request, response) => {
  response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
  setTimeout(() => response.end(`answered over ${request.httpVersion}\n`), 50);
}).listen(Number(process.argv[2]), '127.0.0.1');
