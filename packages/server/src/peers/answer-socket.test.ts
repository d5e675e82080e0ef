import assert from "node:assert/strict";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { AnswerSocket } from "./answer-socket.ts";

let server: Server;
/** What the other side does with a connection once it has read the request. */
let serve: (socket: Socket) => void;

before(async () => {
  server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => serve(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
after(() => server.close());

interface Asked {
  readonly request: ClientRequest;
  readonly answer: AnswerSocket;
  readonly response: Promise<IncomingMessage>;
}

/** `useOnread`: the connection reads as a plain one does, or as one over TLS. `decide` is called in the response's event. */
function ask(useOnread: boolean, decide: (answer: AnswerSocket, response: IncomingMessage) => void): Asked {
  const { port } = server.address() as AddressInfo;
  const answer = new AnswerSocket((onread) => connect({ port, host: "127.0.0.1", ...(useOnread ? { onread } : {}) }));
  const request = httpRequest({ path: "/stream", createConnection: () => answer });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (each) => {
      each.on("error", () => {});
      decide(answer, each);
      resolve(each);
    });
  });
  request.end();
  return { request, answer, response };
}

/** Asks, takes the body, and resolves with what came until its end. */
async function taken(useOnread: boolean): Promise<{ data: string; reason: string }> {
  let data = "";
  let request: ClientRequest | null = null;
  const reason = await new Promise<string>((resolve, reject) => {
    const asked = ask(useOnread, (answer) => {
      answer.takeBody({
        received: (piece) => {
          data += piece.toString();
          return true;
        },
        ended: resolve,
      });
    });
    request = asked.request;
    asked.response.catch(reject);
  });
  request!.destroy();
  return { data, reason };
}

const HEAD = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

for (const useOnread of [true, false]) {
  const how = useOnread ? "lent bytes" : "data events";

  test(`a body is the taker's, byte for byte, however it comes: ${how}`, async () => {
    const bytes = Buffer.from(`${HEAD}5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n`);
    serve = (socket) => socket.write(bytes);
    assert.deepEqual(await taken(useOnread), { data: "hello, world", reason: "EOF" });
    serve = (socket) => {
      socket.setNoDelay(true);
      let at = 0;
      const timer = setInterval(() => {
        if (at < bytes.length) socket.write(bytes.subarray(at, ++at));
        else clearInterval(timer);
      }, 1);
    };
    assert.deepEqual(await taken(useOnread), { data: "hello, world", reason: "EOF" });
  });

  test(`a connection that ends inside the body says so, and so does a malformed one: ${how}`, async () => {
    serve = (socket) => socket.end(`${HEAD}5\r\nhel`);
    assert.deepEqual(await taken(useOnread), { data: "hel", reason: "unexpected EOF" });
    serve = (socket) => socket.write(`${HEAD}5\r\nhello\r\nworld\r\n`);
    const reason = "malformed chunked encoding: a size is no number";
    assert.deepEqual(await taken(useOnread), { data: "hello", reason });
  });

  test(`a body that is left is http's, whole, also if the connection ends with it: ${how}`, async () => {
    const text = "refused: ".repeat(1000);
    for (const [head, isEnded] of [
      [`HTTP/1.1 412 Precondition Failed\r\nContent-Length: ${text.length}\r\n\r\n`, false],
      ["HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\n", true],
    ] as const) {
      serve = (socket) => (isEnded ? socket.end(head + text) : socket.write(head + text));
      const { request, response } = ask(useOnread, (answer) => answer.leaveBody());
      let body = "";
      for await (const piece of await response) body += String(piece);
      assert.equal(body, text);
      request.destroy();
    }
  });
}

test("who is refused a connection hears the system's error", async () => {
  const answer = new AnswerSocket(() => connect({ port: 1, host: "127.0.0.1" }));
  const request = httpRequest({ createConnection: () => answer });
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => {
    request.on("error", resolve);
    request.end();
  });
  assert.equal(error.code, "ECONNREFUSED");
});

for (const useOnread of [true, false]) {
  const how = useOnread ? "lent bytes" : "data events";

  test(`an answer that only announces another one costs its connection, at once: ${how}`, async () => {
    for (const rest of ["", HEAD, "x".repeat(100_000)]) {
      serve = (socket) => socket.write(`HTTP/1.1 103 Early Hints\r\n\r\n${rest}`);
      const { response } = ask(useOnread, () => assert.fail("there is no answer"));
      await assert.rejects(response, /not the head of an answer/);
    }
  });

  test(`a connection that is reset inside a body breaks the request with the system's code: ${how}`, async () => {
    serve = (socket) => socket.write(`${HEAD}5\r\nhello\r\n`, () => setTimeout(() => socket.resetAndDestroy(), 20));
    const heard: string[] = [];
    const { request, response } = ask(useOnread, (answer) => {
      answer.takeBody({
        received: (piece) => heard.push(piece.toString()) > 0,
        ended: (reason) => heard.push(reason),
      });
    });
    const errors: string[] = [];
    request.on("error", (error: NodeJS.ErrnoException) => errors.push(error.code ?? error.message));
    await response;
    await new Promise((resolve) => request.on("close", resolve));
    assert.deepEqual([heard, errors], [["hello"], ["ECONNRESET"]]);
  });
}

test("destroying the request closes the connection, and nobody is told anything more", async () => {
  let closed: () => void;
  const isClosed = new Promise<void>((resolve) => (closed = resolve));
  serve = (socket) => {
    socket.on("close", closed);
    socket.write(`${HEAD}1\r\na\r\n`);
  };
  const { request, response } = ask(true, (answer) => {
    answer.takeBody({ received: () => true, ended: () => assert.fail("told of an end") });
  });
  await response;
  request.destroy();
  await isClosed;
});
