# A gateway as far as logging in goes: says how, and looks at what it is shown as a gateway does.
#
#     answerer.py PORT ISSUER AUDIENCE    with tls.pem, its certificate and key, beside it
import json, ssl, sys, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from jwcrypto import jwk, jwt

port, issuer, audience = int(sys.argv[1]), sys.argv[2], sys.argv[3]
keys = None

def whoami(authorization):
    global keys
    kind, _, token = (authorization or '').partition(' ')
    if kind != 'Bearer' or token.count('.') != 2:
        return None
    if keys is None:
        configuration = json.load(urllib.request.urlopen(issuer + '/.well-known/openid-configuration'))
        keys = jwk.JWKSet.from_json(urllib.request.urlopen(configuration['jwks_uri']).read())
    try:
        claims = json.loads(jwt.JWT(jwt=token, key=keys, algs=['RS256'], check_claims={
            'iss': issuer, 'aud': audience, 'exp': None}, expected_type='JWS').claims)
    except Exception as refused:
        print('refused', refused, file=sys.stderr, flush=True)
        return None
    if claims['exp'] < time.time():
        return None
    return {'user': claims['email'], 'role': 'operator', 'via': 'oidc', 'expires': None}

class Answers(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        oidc = {'kind': 'oidc', 'issuer': issuer, 'client_id': 'openshell-cli', 'scopes': ['email'], 'audience': audience}
        if self.path == '/.well-known/openshell':
            return self.answer(200, {'version': '0.1.0', 'auth': [{'kind': 'token'}, oidc, {'kind': 'of-the-future', 'x': 1}]})
        who = whoami(self.headers.get('authorization'))
        if who is None:
            return self.answer(401, {'status': 401, 'code': 'unauthorized', 'detail': 'the token is none'})
        if self.path == '/v1/whoami':
            return self.answer(200, who)
        if self.path == '/v1/status':
            return self.answer(200, {'version': '0.1.0', 'uptime_s': 1, 'sandboxes': 0, 'connected': 0, 'modules': 0,
                                     'decisions': 0, 'runtimes': []})
        self.answer(200, [])
    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = ThreadingHTTPServer(('127.0.0.1', port), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('tls.pem')
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
