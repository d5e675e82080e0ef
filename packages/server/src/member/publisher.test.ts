import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import type { Member as ClusterMember } from "@quorate/membership";
import { silentLog } from "@quorate/world";
import type { Outcome } from "./outcome.ts";
import type { Pending, ProposalHandler } from "./pending.ts";
import { Publisher } from "./publisher.ts";

const SELF = {
  id: 1n,
  name: "m1",
  clientUrls: ["http://m1:2379"],
  peerUrls: ["http://m1:2380"],
  isLearner: false,
} satisfies ClusterMember;

let proposals: ProposalHandler[];
let publishedCount: number;
let publisher: Publisher;

beforeEach(() => {
  proposals = [];
  publishedCount = 0;
  publisher = new Publisher(
    { memberId: SELF.id, name: SELF.name, clientUrls: SELF.clientUrls, log: silentLog },
    {
      propose: (_op, _bytes, handler) => proposals.push(handler),
      mayPropose: () => true,
      published: () => publishedCount++,
    },
  );
  publisher.begin();
});

test("what is lost is proposed again until it is applied", () => {
  proposals[0]!.failed({} as Pending, "Timeout");
  assert.equal(proposals.length, 2);
  proposals[1]!.applied({} as Pending, {} as Outcome);
  assert.equal(publishedCount, 1);
});

test("an entry that was passed over with a snapshot is not waited for", () => {
  publisher.replaced(SELF);
  assert.equal(publishedCount, 1);
  proposals[0]!.failed({} as Pending, "Timeout");
  assert.deepEqual([publishedCount, proposals.length], [1, 1]);
});

test("a snapshot in which the member has another address, or is not yet started, says nothing", () => {
  publisher.replaced({ ...SELF, clientUrls: ["http://elsewhere:2379"] });
  publisher.replaced({ ...SELF, name: "", clientUrls: [] });
  publisher.replaced(undefined);
  assert.equal(publishedCount, 0);
});
