"""What the bucket's owner does: list, put KEY FILE, delete KEY, and sync FROM TO, as `aws s3 sync` does."""

import configparser
import pathlib
import sys

import boto3

endpoint, file, doing, *words = sys.argv[1:]
keys = configparser.ConfigParser()
keys.read(file)
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys["default"])
if doing == "list":
    for found in s3.list_objects_v2(Bucket="modules").get("Contents", []):
        print(found["Key"], found["Size"])
elif doing == "put":
    s3.upload_file(words[1], "modules", words[0])
elif doing == "delete":
    s3.delete_object(Bucket="modules", Key=words[0])
elif doing == "sync":
    source, target = words
    if source.startswith("s3://"):
        prefix = source.removeprefix("s3://modules/") + "/"
        for found in s3.list_objects_v2(Bucket="modules", Prefix=prefix).get("Contents", []):
            file = pathlib.Path(target, found["Key"].removeprefix(prefix))
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file("modules", found["Key"], str(file))
    else:
        prefix = target.removeprefix("s3://modules/")
        for file in pathlib.Path(source).rglob("*"):
            if file.is_file():
                s3.upload_file(str(file), "modules", f"{prefix}/{file.relative_to(source)}")
