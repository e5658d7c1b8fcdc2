"""A server of object storage on this machine, and folders of it."""

import os
from contextlib import contextmanager

import requests
import s3fs
from moto.server import ThreadedMotoServer

BUCKET = "study"
_ACCESS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def object_storage():
    """Yield the file system of a server that this process and its children find."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    address = f"http://{host}:{port}"
    os.environ.update(_ACCESS, AWS_ENDPOINT_URL=address)
    try:
        # All servers of a process share their buckets: forget those of an earlier one.
        requests.post(f"{address}/moto-api/reset", timeout=60).raise_for_status()
        system = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
        system.mkdir(BUCKET)
        yield system
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()


def upload(system, folder, name):
    """Copy a folder to the bucket; return its address."""
    system.put(str(folder), f"{BUCKET}/{name}", recursive=True)
    return f"s3://{BUCKET}/{name}"


def download(system, name, to):
    """Copy a folder of the bucket to this machine."""
    system.get(f"{BUCKET}/{name}", str(to), recursive=True)
    return to
