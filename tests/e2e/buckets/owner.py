"""What the bucket's owner does: list, put KEY FILE, delete KEY."""

import configparser
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
