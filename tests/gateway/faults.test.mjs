// Everything that can go wrong at a provider, under traffic, with one healthy alternative: a tenant for each
// fault, all at the same time. The fault lasts TOLLGATE_STORM_SECONDS (60); TOLLGATE_FAULTS names some of them only,
// with commas.
//
// A request counts as served if its client got the whole, right answer. Only where the fault strikes after the
// first content of a stream has gone out, and the tenant does not let it go on elsewhere, can nobody take over:
// there each request either was served or was told of the fault in the stream, and those who were told are at most
// the attempts that the sick target got.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { makeStore } from "../../benches/gateway/paths.mjs";
import { assertBalanced, endsOf } from "./books.mjs";
import { tenantsOnDisk } from "./rows.mjs";
import { nano, openSite } from "./site.mjs";
import { atOnce, booksOf, RECOVERS_MS, recovered, storm } from "./storm.mjs";

const STORM_MS = Number(process.env.TOLLGATE_STORM_SECONDS ?? 60) * 1000;
/** Of the requests, attempts at all providers together are at most so many; and in short storms as many more as the retry budget begins with. */
const MOST_ATTEMPTS = 1.2;
const MORE_ATTEMPTS = STORM_MS < 60_000 ? 10 : 0;
const MOST_FAILURES = 10;
/** What was under way when the breaker opened has begun by then. */
const LATE_MS = 1000;

/** What breaks off midway goes on at the other target. */
const ONWARD = { on_broken_stream: "continue" };

/**
 * `midway`: the fault strikes when the answer has begun to go out. `rests`: the target asks to be left alone for
 * so long, and is; its breaker has nothing to do. `partly`: the breaker closes in between.
 */
const ALL = [
  { name: "hang", fault: { fault: "hang" } },
  { name: "hang-stream", fault: { fault: "hang" }, stream: true },
  { name: "silent-stream", fault: { fault: "early-t3600000" }, stream: true },
  { name: "stall-whole", fault: { fault: "stall" } },
  { name: "stall-stream", fault: { fault: "stall" }, stream: true, midway: true },
  { name: "reset", fault: { fault: "reset" } },
  { name: "reset-begun", fault: { fault: "early-x0" }, stream: true },
  { name: "reset-midway", fault: { fault: "x3" }, stream: true, midway: true },
  { name: "short-whole", fault: { fault: "short" } },
  { name: "short-stream", fault: { fault: "short" }, stream: true, midway: true },
  { name: "stall-onward", fault: { fault: "stall" }, stream: true, retry: ONWARD },
  { name: "reset-onward", fault: { fault: "x3" }, stream: true, retry: ONWARD },
  { name: "short-onward", fault: { fault: "short" }, stream: true, retry: ONWARD },
  { name: "wait-seconds", fault: { fault: "e429", retry_after: "3" }, rests: 3000 },
  { name: "wait-date", fault: { fault: "e429", retry_after_date_s: 4 }, rests: 3000 },
  { name: "wait-for-ever", fault: { fault: "e429", retry_after: "1000000000" }, breaker: { max_retry_after_s: 6 }, rests: 6000 },
  { name: "wait-negative", fault: { fault: "e429", retry_after: "-1" } },
  { name: "wait-garbage", fault: { fault: "e429", retry_after: "soon" } },
  { name: "overloaded", fault: { fault: "e529" } },
  { name: "storm-half", fault: { fault: "e500", share: 0.5 }, partly: true },
  { name: "storm-all", fault: { fault: "e500" } },
  { name: "dead-key", fault: { fault: "e401" } },
];
const wanted = process.env.TOLLGATE_FAULTS?.split(",");
const SCENARIOS = ALL.filter(({ name }) => wanted?.includes(name) ?? true);

let site;
let disk;
const results = new Map();

before(async () => {
  // As in production: the tests' own default holds streams back for less than their time limit.
  site = await openSite({
    env: { TOLLGATE_LOG: "errors", TOLLGATE_HOLD_MS: "5000" },
    simulator: ["--journal", "40000"],
    // In memory where possible: a disk that others keep busy is no provider's fault.
    stateDir: makeStore().path,
  });
  await Promise.all(SCENARIOS.map(async (one) => results.set(one.name, await storm(site, one, STORM_MS))));
  await site.gateway.stop();
  disk = await tenantsOnDisk(site.stateDir);
});

after(async () => {
  if (site) await site.close();
});

for (const { name, midway = false, rests, partly = false } of SCENARIOS) {
  describe(name, () => {
    let result;
    let books;
    before(() => {
      result = results.get(name);
      books = booksOf(result, disk.get(name));
    });

    test("whole answers for the clients", (t) => {
      const { requests, told, lost, sick, well, on, off } = result;
      const hit = sick.filter(({ at_ms: at }) => at >= on && at < off).length;
      t.diagnostic(
        `${name}: ${requests} requests, ${requests - told - lost.length} served, ${told} told in the stream; attempts ` +
          `${((sick.length + well.length) / requests).toFixed(3)} of the requests; ${hit} at the sick target during the fault, ` +
          `${books.probes.length} of them probes; ${books.failures} failures until it opened; back after ${recovered(result)} ms`,
      );
      assert.ok(hit > 0 && requests > 40, "the fault struck");
      assert.deepEqual(lost, []);
      if (midway) assert.ok(told > 0 && told <= hit, `${told} told, ${hit} hit`);
      else assert.ok(requests - told >= 0.999 * requests, `${told} of ${requests} were told in the stream`);
    });

    test("few attempts more than requests", () => {
      const attempts = result.sick.length + result.well.length;
      assert.ok(attempts <= MOST_ATTEMPTS * result.requests + MORE_ATTEMPTS, `${attempts} attempts for ${result.requests} requests`);
      assert.ok(attempts >= result.requests);
    });

    if (rests) {
      test("left alone for as long as it asked", () => {
        const during = result.sick.filter(({ at_ms: at }) => at >= result.on && at < result.off);
        const bursts = during.filter(({ at_ms: at }, i) => i === 0 || at - during[i - 1].at_ms > rests / 2);
        const most = Math.floor((result.off - result.on) / rests) + 1;
        assert.ok(bursts.length <= most, `${bursts.length} times within ${most} pauses`);
        assert.ok(during.length <= 3 * most, `${during.length} attempts within ${most} pauses`);
        assert.equal(books.probes.length, 0);
      });
    } else {
      test("opens within ten failures", () => {
        assert.notEqual(books.opened, null, "it never opened");
        assert.ok(books.failures <= MOST_FAILURES, `${books.failures} failures`);
      });

      test("one probe at a time", () => {
        assert.ok(books.probes.length > 0);
        assert.deepEqual(books.strays, []);
        const { opened, closed } = books;
        const open = result.sick.filter(({ at_ms: at }) => at > opened + LATE_MS && at < closed);
        assert.equal(atOnce(open), 1);
        // Each of them was one attempt.
        const lent = books.probes.filter(({ at }) => at > opened + LATE_MS && at < closed).length;
        assert.ok(Math.abs(open.length - lent) <= 1, `${open.length} attempts, ${lent} probes`);
        if (!partly) assert.equal(closed, result.off, "it closed while the fault was there");
      });
    }

    test("back within ten seconds of its recovery", () => {
      const ms = recovered(result);
      assert.ok(ms !== null && ms <= RECOVERS_MS, `after ${ms} ms`);
    });

    test("books that are right", () => {
      const { lines, asked } = books;
      assertBalanced(disk.get(name), lines);
      assert.equal(endsOf(asked).size, result.requests);
      assert.deepEqual(lines.filter(({ kind }) => kind !== "settled"), []);
      assert.equal(asked.length, result.sick.length + result.well.length, "each attempt at the provider has its line");
      const spent = lines.reduce((sum, { attempt }) => sum + attempt.cost, 0);
      assert.deepEqual([nano(result.budget.spent_usd), result.budget.held_usd], [spent, "0"]);
    });
  });
}
