// Asks over HTTP/2, and tells what comes in the order it comes.
import { connect } from 'node:http2';

const session = connect(process.argv[2]);
const stream = session.request({ ':path': '/' });
stream.on('headers', (head) => console.log('hint', head[':status'], head.link));
stream.on('response', (head) => console.log('answer', head[':status']));
stream.setEncoding('utf8').on('data', (text) => process.stdout.write(text));
stream.on('end', () => session.close());
