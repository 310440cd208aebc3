# Takes what a gateway exports: OTLP by the protocol's own definitions, OCSF by what its schema demands.
#
#     collector.py LOG    prints its port; writes a line of JSON to LOG for each item that it has taken
#
# The first message to every path is answered 503: nothing may be lost by that.
import base64, json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

log = open(sys.argv[1], 'a', buffering=1)
seen = set()

def binary_ids(value):
    """OTLP's JSON has ids in hexadecimal, protobuf's in base64."""
    if isinstance(value, dict):
        return {key: base64.b64encode(bytes.fromhex(inner)).decode() if key in ('traceId', 'spanId', 'parentSpanId')
                else binary_ids(inner) for key, inner in value.items()}
    return [binary_ids(inner) for inner in value] if isinstance(value, list) else value

def attributes(item):
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in item.attributes}

def logs(document):
    request = json_format.ParseDict(binary_ids(document), ExportLogsServiceRequest())
    for resource in request.resource_logs:
        assert attributes(resource.resource)['service.name'] == 'openshell'
        for record in (record for scope in resource.scope_logs for record in scope.log_records):
            assert record.time_unix_nano and len(record.trace_id) == 16 and len(record.span_id) == 8, record
            yield {'trace': record.trace_id.hex(), 'body': record.body.string_value, **attributes(record)}

def spans(document):
    request = json_format.ParseDict(binary_ids(document), ExportTraceServiceRequest())
    for span in (span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans):
        assert len(span.trace_id) == 16 and len(span.span_id) == 8 and span.name, span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
        yield {'trace': span.trace_id.hex(), 'span': span.span_id.hex(), 'parent': span.parent_span_id.hex(),
               'name': span.name, **attributes(span)}

def ocsf(document):
    for event in document:
        # What the schema requires of every event, and what it demands of these classes.
        for key in ('activity_id', 'category_uid', 'class_uid', 'type_uid', 'time', 'severity_id', 'metadata'):
            assert key in event, (key, event)
        assert event['metadata']['version'] == '1.6.0' and event['metadata']['product']['vendor_name'], event
        assert event['type_uid'] == event['class_uid'] * 100 + event['activity_id'], event
        assert event['class_uid'] == 4001 or 'http_request' in event, event
        assert 'type_id' in event['device'] and event['dst_endpoint'], event
        yield {'id': event['metadata']['uid'], 'class': event['class_uid'], 'action': event['action_id']}

TAKERS = {'/v1/logs': logs, '/v1/traces': spans, '/ocsf': ocsf}

class Collector(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        if self.path not in seen:
            seen.add(self.path)
            return self.answer(503)
        try:
            if self.path == '/lines':
                taken = [json.loads(line) for line in body.decode().splitlines()]
            else:
                taken = list(TAKERS[self.path](json.loads(body)))
        except Exception as wrong:
            log.write(json.dumps({'path': self.path, 'wrong': repr(wrong)}) + '\n')
            return self.answer(400)
        for item in taken:
            log.write(json.dumps({'path': self.path, 'item': item}) + '\n')
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header('content-length', '2')
        self.end_headers()
        self.wfile.write(b'{}')

    def log_message(self, *words):
        pass

server = ThreadingHTTPServer(('127.0.0.1', 0), Collector)
print(server.server_address[1], flush=True)
server.serve_forever()
