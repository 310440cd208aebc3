# The keys of a Cloudflare Access team, at the path where it has them, and what it asserts of a service token, in the file `assertion`.
#
#     access.py PORT CLIENT AUDIENCE
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from jwcrypto import jwk, jwt

port, client, audience = int(sys.argv[1]), sys.argv[2], sys.argv[3]
key = jwk.JWK.generate(kty='RSA', size=2048, kid='of-the-team', alg='RS256', use='sig')
now = int(time.time())
# https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/application-token/
claims = {'type': 'app', 'aud': audience, 'exp': now + 3600, 'iat': now, 'iss': f'http://127.0.0.1:{port}',
          'common_name': client, 'sub': ''}
token = jwt.JWT(header={'alg': 'RS256', 'kid': key['kid'], 'typ': 'JWT'}, claims=claims)
token.make_signed_token(key)
with open('assertion', 'w') as file:
    file.write(token.serialize())
KEYS = json.dumps({'keys': [json.loads(key.export_public())]}).encode()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == '/cdn-cgi/access/certs'
        self.send_response(200 if found else 404)
        self.send_header('content-length', str(len(KEYS) if found else 0))
        self.end_headers()
        self.wfile.write(KEYS if found else b'')


ThreadingHTTPServer(('127.0.0.1', port), Answer).serve_forever()
