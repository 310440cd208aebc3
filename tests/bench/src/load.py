import os, sys, requests
url, sent, failed, session = sys.argv[1], 0, 0, requests.Session()
while not os.path.exists("stop"):
    try:
        failed += (requests if sent % 10 == 0 else session).get(url, timeout=5).status_code != 200
    except requests.RequestException as error:
        failed += 1
        print(error, file=sys.stderr)
    sent += 1
print(f"{sent} requests, {failed} failed")
