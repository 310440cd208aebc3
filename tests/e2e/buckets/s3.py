"""A server of S3 that checks every signature and what a key may do: moto, with one bucket and three users' keys.

Where a file `before-PUT` is, the next module that is put is read and not taken yet; where `after-PUT` is, it is taken and not answered yet. The
same for other methods. Who waits has renamed the file to `….arrived`, and waits until that is gone.
"""

import io
import json
import pathlib
import sys
import time

from moto import server, settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

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
keys("gateway", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "gateway.keys")
keys("writer", ["s3:GetObject", "s3:PutObject"], "writer.keys")
keys("owner", ["s3:*"], "owner.keys")
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0


def wait(name):
    try:
        arrived = pathlib.Path(name).rename(f"{name}.arrived")
    except FileNotFoundError:
        return
    while arrived.exists():
        time.sleep(0.02)


def held(app):
    """The same, which waits where files say so. Of modules alone."""

    def answer(environ, start):
        method, module = environ["REQUEST_METHOD"], environ["PATH_INFO"].endswith(".wasm")
        if module:
            # It is here whole, whatever becomes of who sent it.
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            wait(f"before-{method}")
        done = app(environ, start)
        if module:
            wait(f"after-{method}")
        return done

    return answer


dispatcher = server.DomainDispatcherApplication
server.DomainDispatcherApplication = lambda make: held(dispatcher(make))
server.main(["--port", sys.argv[1]])
