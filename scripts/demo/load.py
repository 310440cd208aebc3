"""A client that never stops sending: new and kept connections, for ten seconds."""
import sys
import time

import requests

url, sent, failed = sys.argv[1], 0, 0
session, end = requests.Session(), time.time() + 10
while time.time() < end:
    try:
        client = requests if sent % 10 == 0 else session
        answer = client.get(url, timeout=5)
        failed += answer.status_code != 200
    except requests.RequestException as error:
        failed += 1
        print(error)
    sent += 1
print(f"{sent} sent, {failed} failed")
