"""Prints the protocol files inside the official Python client's package, serialized, one line of base64 each."""

import base64

from rocketmq.grpc_protocol import definition_pb2, service_pb2

for module in (definition_pb2, service_pb2):
    print(base64.b64encode(module.DESCRIPTOR.serialized_pb).decode())
