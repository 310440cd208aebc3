# An OpenID Connect provider: Django with django-oauth-toolkit, one user, one public client, tokens that end soon.
#
#     provider.py PORT SECONDS
#
# Every request to its token endpoint is appended to requests.log: the grant, and how it was answered.
import json, os, sys, time
import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse, JsonResponse
from django.urls import include, path
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

port, lifetime = int(sys.argv[1]), int(sys.argv[2])
here = os.path.dirname(os.path.abspath(__file__))
base = f'http://127.0.0.1:{port}'
key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
LOGIN = '''<form method=post>{% csrf_token %}{{ form.as_p }}<button id=login>Log in</button></form>'''

settings.configure(
    SECRET_KEY='of a test', ALLOWED_HOSTS=['*'], DEBUG=False, ROOT_URLCONF=__name__, USE_TZ=True, LOGIN_URL='/login/',
    STATIC_URL='/static/', LOGIN_REDIRECT_URL='/',
    INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'django.contrib.sessions',
                    'django.contrib.messages', 'oauth2_provider'],
    MIDDLEWARE=['django.contrib.sessions.middleware.SessionMiddleware', 'django.middleware.common.CommonMiddleware',
                'django.middleware.csrf.CsrfViewMiddleware', 'django.contrib.auth.middleware.AuthenticationMiddleware',
                'django.contrib.messages.middleware.MessageMiddleware', f'{__name__}.watch'],
    DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.path.join(here, 'db.sqlite3')}},
    TEMPLATES=[{'BACKEND': 'django.template.backends.django.DjangoTemplates', 'APP_DIRS': True,
                'OPTIONS': {'context_processors': ['django.template.context_processors.request',
                                                   'django.contrib.auth.context_processors.auth',
                                                   'django.contrib.messages.context_processors.messages'],
                            }}],
    OAUTH2_PROVIDER={'OIDC_ENABLED': True, 'OIDC_RSA_PRIVATE_KEY': key, 'PKCE_REQUIRED': True,
                     'OIDC_ISS_ENDPOINT': f'{base}/o', 'SCOPES': {'openid': 'Who you are', 'email': 'Your address'},
                     'ACCESS_TOKEN_EXPIRE_SECONDS': lifetime, 'ID_TOKEN_EXPIRE_SECONDS': lifetime,
                     'ROTATE_REFRESH_TOKEN': True, 'REFRESH_TOKEN_REUSE_PROTECTION': True,
                     'OAUTH_DEVICE_VERIFICATION_URI': f'{base}/o/device/', 'DEVICE_FLOW_INTERVAL': 1,
                     'OAUTH2_VALIDATOR_CLASS': f'{__name__}.Validator',
                     'ACCESS_TOKEN_GENERATOR': f'{__name__}.access_token'},
)

def watch(answer):
    def watched(request):
        response = answer(request)
        if request.path in ('/o/token/', '/o/revoke_token/'):
            what = request.POST.get('grant_type') or 'revoke ' + request.POST.get('token_type_hint', '')
            with open(os.path.join(here, 'requests.log'), 'a') as log:
                log.write(f'{what} {response.status_code}\n')
        return response
    return watched

# Access tokens that gateways can read (RFC 9068).
def access_token(request):
    from jwcrypto import jwk, jwt
    from oauth2_provider.models import get_device_grant_model
    user = request.user
    if user is None:
        user = get_device_grant_model().objects.get(device_code=request.device_code).user
    signer = jwk.JWK.from_pem(key.encode())
    now = int(time.time())
    claims = {'iss': f'{base}/o', 'aud': 'https://gateway.test', 'sub': str(user.pk), 'email': user.email, 'iat': now,
              'exp': now + lifetime, 'client_id': request.client_id, 'jti': os.urandom(12).hex()}
    token = jwt.JWT(header={'alg': 'RS256', 'kid': signer.thumbprint(), 'typ': 'at+jwt'}, claims=claims)
    token.make_signed_token(signer)
    return token.serialize()

sys.modules['provider'] = sys.modules[__name__]
django.setup()
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from oauth2_provider.models import Application
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.views import ConnectDiscoveryInfoView

class Validator(OAuth2Validator):
    oidc_claim_scope = None
    def get_additional_claims(self, request):
        return {'email': request.user.email}

class Login(LoginView):
    def render_to_response(self, context, **kwargs):
        from django.template import engines
        return HttpResponse(engines['django'].from_string(LOGIN).render(context, self.request))

# The package answers there, and its document leaves it out.
class Discovery(ConnectDiscoveryInfoView):
    def get(self, *args, **kwargs):
        document = json.loads(super().get(*args, **kwargs).content)
        document |= {'device_authorization_endpoint': f'{base}/o/device-authorization/',
                     'revocation_endpoint': f'{base}/o/revoke_token/'}
        return JsonResponse(document)

urlpatterns = [path('o/.well-known/openid-configuration', Discovery.as_view()),
               path('o/', include('oauth2_provider.urls', namespace='oauth2_provider')), path('login/', Login.as_view())]

# A row of its table knows one kind of grant; this client may use the two that a command line needs.
Application.allows_grant_type = lambda self, *kinds: bool({'authorization-code', 'urn:ietf:params:oauth:grant-type:device_code'} & set(kinds))
call_command('migrate', verbosity=0)
user = User.objects.create_user('alice', 'alice@example.test', 'correct horse')
Application.objects.create(name='OpenShell', client_id='openshell-cli', client_type='public', user=user,
                           authorization_grant_type='authorization-code', redirect_uris='http://127.0.0.1/callback',
                           algorithm='RS256')
call_command('runserver', f'127.0.0.1:{port}', use_reloader=False, verbosity=0)
