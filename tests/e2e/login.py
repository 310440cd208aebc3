"""Logs a user in at an OpenID provider by the authorization code flow, and prints the ID token."""
import sys
from urllib.parse import parse_qs, urlparse

import requests

issuer, client, user = sys.argv[1:4]
configuration = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=10).json()
back = "http://127.0.0.1:1/callback"
asked = {"client_id": client, "redirect_uri": back, "response_type": "code", "scope": "openid profile", "state": "s"}
answer = requests.post(
    configuration["authorization_endpoint"], params=asked, data={"sub": user}, allow_redirects=False, timeout=10
)
code = parse_qs(urlparse(answer.headers["location"]).query)["code"][0]
tokens = requests.post(
    configuration["token_endpoint"],
    data={"grant_type": "authorization_code", "code": code, "redirect_uri": back},
    auth=(client, "secret"),
    timeout=10,
)
tokens.raise_for_status()
print(tokens.json()["id_token"])
