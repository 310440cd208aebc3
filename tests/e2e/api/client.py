# Works with a gateway through a client that was made from its OpenAPI document.
import ssl
import sys

from openshell_client import AuthenticatedClient
from openshell_client.api.sandboxes import (
    create_sandbox,
    delete_sandbox,
    get_sandbox,
    list_sandboxes,
    stop_sandbox,
)
from openshell_client.api.users import create_user, list_users, replace_user
from openshell_client.models import CreateSandbox, CreateUser, Problem, Role, SetUser

url, ca, token = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token, verify_ssl=ssl.create_default_context(cafile=ca))

for name in ["one", "two", "three"]:
    made = create_sandbox.sync(client=client, body=CreateSandbox(name=name), idempotency_key=f"make-{name}")
    assert made.name == name and made.phase.value == "running", made
again = create_sandbox.sync_detailed(client=client, body=CreateSandbox(name="one"), idempotency_key="make-one")
assert again.status_code == 201 and again.headers["idempotency-replayed"] == "true", again
taken = create_sandbox.sync(client=client, body=CreateSandbox(name="one"))
assert isinstance(taken, Problem) and taken.code == "sandbox_exists", taken

found, cursor = [], None
while True:
    more = {} if cursor is None else {"cursor": cursor}
    page = list_sandboxes.sync(client=client, limit=1, **more)
    found += [sandbox.name for sandbox in page.items]
    cursor = page.next_
    if not cursor:
        break
assert found == ["one", "two", "three"], found

create_user.sync(client=client, body=CreateUser(name="vera", role=Role.VIEWER))
seen = replace_user.sync_detailed("vera", client=client, body=SetUser(role=Role.OPERATOR))
assert seen.parsed.role is Role.OPERATOR, seen
late = replace_user.sync("vera", client=client, body=SetUser(role=Role.ADMIN), if_match='"other"')
assert isinstance(late, Problem) and late.code == "changed_meanwhile", late
assert late.etag == seen.headers["etag"], (late, seen.headers)
assert [user.name for user in list_users.sync(client=client).items] == ["admin", "vera"]

assert stop_sandbox.sync("two", client=client).phase.value == "stopped"
for name in found:
    assert delete_sandbox.sync_detailed(name, client=client).status_code == 204
missing = get_sandbox.sync("one", client=client)
assert isinstance(missing, Problem) and missing.status == 404, missing
print("made, found, changed, stopped, gone")
