"""What the bucket's owner does: list, put KEY TEXT, delete KEY."""

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
    s3.put_object(Bucket="modules", Key=words[0], Body=words[1].encode())
elif doing == "delete":
    s3.delete_object(Bucket="modules", Key=words[0])
