"""A server of S3 that checks every signature and what a key may do: moto, with one bucket and two users' keys."""

import json
import sys

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.server import main

users = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]


def keys(name, actions, file):
    """Makes a user who may do this, and writes a file with a key of theirs."""
    allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    users.create_user("us-east-1", name)
    users.put_user_policy(name, "all", json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    key = users.create_access_key(name)
    with open(file, "w") as out:
        out.write(f"[default]\naws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}\n")


s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket("modules", "us-east-1")
keys("gateway", ["s3:GetObject", "s3:PutObject"], "gateway.keys")
keys("owner", ["s3:*"], "owner.keys")
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
main(["--port", sys.argv[1]])
