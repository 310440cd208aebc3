// 400 streams, 40 at a time: how many answers there were of each status.
import http2 from "node:http2";

const session = http2.connect(process.argv[2]);
const answers = {};
const count = (what) => (answers[what] = (answers[what] ?? 0) + 1);
const ask = (number) =>
  new Promise((done) => {
    const post = number % 2 === 1;
    const stream = session.request({ ":path": "/", ":method": post ? "POST" : "GET" }, { endStream: !post });
    stream.on("response", (headers) => count(headers[":status"]));
    stream.on("error", (error) => count(error.code));
    stream.on("close", done);
    stream.resume();
    if (post) stream.end("x".repeat(1000));
  });
for (let first = 0; first < 400; first += 40) {
  await Promise.all(Array.from({ length: 40 }, (_, number) => ask(first + number)));
}
console.log(JSON.stringify(answers));
session.close();
