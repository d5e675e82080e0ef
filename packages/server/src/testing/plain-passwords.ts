/** Passwords without bcrypt, for tests and the simulator: a "hash" is the password with a mark in front. */
import type { Passwords } from "../auth/passwords.ts";

const MARK = "plain:";

export const plainPasswords: Pick<Passwords, "hash" | "verify" | "dropUser"> = {
  hash: (password, _call, done) => done(Buffer.from(`${MARK}${password}`)),
  verify: ({ hash, password }, done) => {
    done(Buffer.from(hash).toString() === `${MARK}${password}` ? "right" : "wrong");
  },
  dropUser: () => {},
};
