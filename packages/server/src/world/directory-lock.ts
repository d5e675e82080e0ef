/**
 * Keeps two processes from sharing a data directory. Called by the process before it touches anything in it.
 *
 * Node has no flock, and a file with a process id cannot be trusted after kill -9, a reboot or in another container. So
 * the lock is a listening socket *in* the directory: the kernel takes the listener away with the process, however that
 * ends, and whoever shares the directory can ask by connecting, across containers too.
 *
 * A dead socket must be replaced without two starters replacing each other's. They never delete what may be alive:
 * every holder has its own generation, and the highest generation in the directory is the lock.
 *
 *   lock.7 (dead) ──a starter links its listening socket──▶ lock.7 (dead), lock.8 (alive) ──▶ lock.8
 *
 *   1. List. If the highest generation answers, the directory is in use.
 *   2. Listen under a name of one's own, then link that to the next generation; exactly one starter can. The loser
 *      starts again.
 *   3. List again. Only the highest generation holds the lock; then it removes those below it, which are dead.
 *
 * The highest file is never removed, not even when its holder ends, so a starter that was slow between 1 and 2 cannot
 * take a generation that has been and gone: it would see a higher one in step 3. Not meant for directories shared
 * between machines over a network, where the other machine's sockets cannot be asked.
 */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";

const PREFIX = "lock.";
const GENERATION_NAME = /^lock\.([0-9]{1,15})$/;
const OWN_NAME = /^lock\.own\./;
/** How many other starters one gives way to before giving up. */
const ATTEMPTS_MAX = 20;
/** The longest path of a socket that every system takes. */
const SOCKET_PATH_MAX_BYTES = 103;

/** Another process holds the directory, or the lock cannot be made in it. */
export class DirectoryLockError extends Error {
  readonly kind = "DirectoryLock";
  readonly directory: string;

  constructor(directory: string, reason: string, cause?: unknown) {
    super(`cannot lock directory ${directory}: ${reason}`, { cause });
    this.name = "DirectoryLockError";
    this.directory = directory;
  }
}

/** True for names the lock keeps in its directory. */
export function isLockName(name: string): boolean {
  return GENERATION_NAME.test(name) || OWN_NAME.test(name);
}

/** Held until {@link release}, or until the process ends in whatever way. */
export class DirectoryLock {
  readonly #listener: Listener;

  /** Throws DirectoryLockError. The directory must exist. */
  static async acquire(directory: string): Promise<DirectoryLock> {
    let listener: Listener;
    try {
      listener = await Listener.open(directory);
    } catch (error) {
      throw new DirectoryLockError(directory, `cannot listen in it: ${text(error)}`, error);
    }
    try {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        const generation = await claim(directory, listener);
        if (generation > 0) {
          removeBelow(directory, generation, listener.name);
          return new DirectoryLock(listener);
        }
      }
      throw new DirectoryLockError(directory, `gave way to ${ATTEMPTS_MAX} other processes`);
    } catch (error) {
      listener.close();
      if (error instanceof DirectoryLockError) throw error;
      throw new DirectoryLockError(directory, text(error), error);
    }
  }

  private constructor(listener: Listener) {
    this.#listener = listener;
  }

  /** Another process may take the lock from now on. */
  release(): void {
    this.#listener.close();
  }
}

/** One round of the three steps. Returns the generation now held, or 0 if another starter was faster. */
async function claim(directory: string, listener: Listener): Promise<number> {
  const highest = highestGeneration(directory);
  if (highest > 0) {
    const holder = await ask(listener.pathOf(PREFIX + highest));
    if (holder !== null) throw new DirectoryLockError(directory, `it is in use by process ${holder}`);
  }
  const generation = highest + 1;
  try {
    fs.linkSync(`${directory}/${listener.name}`, `${directory}/${PREFIX}${generation}`);
  } catch (error) {
    // ENOENT: a new holder has cleared this process's name away.
    if (codeOf(error) === "EEXIST" || codeOf(error) === "ENOENT") return 0;
    throw error;
  }
  return highestGeneration(directory) === generation ? generation : 0;
}

function highestGeneration(directory: string): number {
  let highest = 0;
  for (const name of fs.readdirSync(directory)) {
    const match = GENERATION_NAME.exec(name);
    if (match !== null) highest = Math.max(highest, Number(match[1]));
  }
  return highest;
}

/** Removes dead generations, this process's own name, and the names of starters that were killed half-way. */
function removeBelow(directory: string, generation: number, ownName: string): void {
  for (const name of fs.readdirSync(directory)) {
    const match = GENERATION_NAME.exec(name);
    const isBelow = match !== null && Number(match[1]) < generation;
    // A starter that lives loses only its chance to link, and the lock is taken anyway.
    if (isBelow || name === ownName || OWN_NAME.test(name)) fs.rmSync(`${directory}/${name}`, { force: true });
  }
}

/** Who listens at the socket: a process id, "unknown" if it does not say, null if nobody does. */
function ask(socketPath: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath);
    let answer = "";
    let isConnected = false;
    socket.setEncoding("latin1");
    socket.setTimeout(1000, () => socket.destroy());
    socket.on("connect", () => {
      isConnected = true;
    });
    socket.on("data", (part: string) => {
      answer += part;
    });
    socket.on("close", () => {
      if (isConnected) resolve(/^[0-9]+/.exec(answer)?.[0] ?? "unknown");
    });
    socket.on("error", (error) => {
      const code = codeOf(error);
      if (isConnected) return;
      if (code === "ECONNREFUSED" || code === "ENOENT") resolve(null);
      // A full queue of connections means that somebody is there.
      else if (code === "EAGAIN") resolve("unknown");
      else reject(error);
    });
  });
}

/** A listening socket under a name of its own, which says the process id to whoever connects. */
class Listener {
  readonly name: string;
  readonly #server: net.Server;
  readonly #directory: string;
  /** On Linux the directory is also reachable by this descriptor, whose path is short however deep the directory is. */
  readonly #descriptor: number;

  static async open(directory: string): Promise<Listener> {
    const descriptor = process.platform === "linux" ? fs.openSync(directory, fs.constants.O_RDONLY) : -1;
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.end(`${process.pid}\n`);
    });
    const name = `${PREFIX}own.${process.pid}.${process.hrtime.bigint()}`;
    const listener = new Listener(name, server, directory, descriptor);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(listener.pathOf(name), resolve);
      });
    } catch (error) {
      listener.close();
      throw error;
    }
    // The lock alone is no reason for the process to go on.
    server.unref();
    return listener;
  }

  private constructor(name: string, server: net.Server, directory: string, descriptor: number) {
    this.name = name;
    this.#server = server;
    this.#directory = directory;
    this.#descriptor = descriptor;
  }

  /** A path by which a socket of this name in the directory can be bound or connected to. */
  pathOf(name: string): string {
    if (this.#descriptor >= 0) return `/proc/self/fd/${this.#descriptor}/${name}`;
    const absolute = path.resolve(this.#directory, name);
    const relative = path.relative(process.cwd(), absolute);
    const shorter = relative.length < absolute.length ? relative : absolute;
    if (Buffer.byteLength(shorter) <= SOCKET_PATH_MAX_BYTES) return shorter;
    throw new Error(`its path is longer than ${SOCKET_PATH_MAX_BYTES} bytes`);
  }

  close(): void {
    if (this.#server.listening) {
      this.#server.close();
      // Closing removes the socket's own name in time; by then the descriptor is needed no more.
      this.#server.once("close", () => this.#closeDescriptor());
    } else {
      this.#closeDescriptor();
    }
    fs.rmSync(`${this.#directory}/${this.name}`, { force: true });
  }

  #closeDescriptor(): void {
    if (this.#descriptor >= 0) fs.closeSync(this.#descriptor);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
