// A configuration document that is wrong is refused with the field's name, and changes nothing.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FAILURES, assertFailure } from "./failure.mjs";
import { ask, openSite } from "./site.mjs";

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

const limit = (more) => ({ limits: [{ id: "ok", requests: 1, window_s: 1 }, { id: "a", window_s: 60, ...more }] });
const bucket = (more) => limit({ tokens: 10, algorithm: "token_bucket", ...more });
const budget = (more) => ({ budgets: [{ id: "a", limit_usd: "1", period: "day", ...more }] });
const steps = (...when_exceeded) => limit({ requests: 1, when_exceeded });

/** The document, the field that is to blame, and what is said about it. */
const WRONG = [
  [limit({}), "limits[1]", /exactly one of/],
  [limit({ requests: 1, tokens: 1 }), "limits[1]", /limit `a`: give exactly one of `requests`/],
  [limit({ tokens: 1, window_s: undefined }), "limits[1]", /`window_s` is missing/],
  [limit({ concurrency: 1 }), "limits[1]", /no `window_s`/],
  [limit({ requests: 1, burst: 2 }), "limits[1]", /only a `token_bucket` has a `burst`/],
  [bucket({ burst: "2" }), "limits[1]", /whole number/],
  [bucket({ burst: 0 }), "limits[1].burst", /not between 1 and/],
  [bucket({ burst: true }), "limits[1].burst", /whole number, or money/],
  [bucket({ algorithm: "leaky" }), "limits[1].algorithm", /leaky/],
  [limit({ cost_usd: 5 }), "limits[1]", /decimal string/],
  [limit({ cost_usd: "0" }), "limits[1].cost_usd", /not between/],
  [limit({ tokens: -1 }), "limits[1].tokens", /-1/],
  [limit({ tokens: 1_000_000_000_001 }), "limits[1].tokens", /not between/],
  [limit({ requests: 1, scope: "team" }), "limits[1].scope", /`team` is no scope/],
  [limit({ requests: 1, scope: "metadata:" }), "limits[1].scope", /no scope/],
  [limit({ requests: 1, only: ["x"] }), "limits[1].only", /another scope/],
  [limit({ requests: 1, mode: "dry" }), "limits[1].mode", /dry/],
  [limit({ requests: 1, when_unreachable: "maybe" }), "limits[1].when_unreachable", /maybe/],
  [limit({ requests: 1, window: 5 }), "limits[1].window", /unknown field/],
  [steps({ downgrade: "slow" }), "limits[1].when_exceeded[0]", /`slow` is no alias/],
  [steps("reject", "cache"), "limits[1].when_exceeded[0]", /nothing comes after/],
  [steps("cache", { wait_ms: 30_001 }), "limits[1].when_exceeded[1]", /not between/],
  [steps("pray"), "limits[1].when_exceeded[0]", /pray/],
  [budget({ time_zone: "CEST" }), "budgets[0].time_zone", /no time zone `CEST`/],
  [budget({ rolling_s: 60 }), "budgets[0]", /either `period` or `rolling_s`/],
  [budget({ period: undefined }), "budgets[0]", /either `period` or `rolling_s`/],
  [budget({ period: undefined, rolling_s: 59 }), "budgets[0].rolling_s", /not between/],
  [budget({ period: undefined, rolling_s: 60, time_zone: "UTC" }), "budgets[0]", /no `time_zone`/],
  [budget({ thresholds: [50, 50] }), "budgets[0].thresholds", /ascending/],
  [budget({ thresholds: [101] }), "budgets[0].thresholds", /between 1 and 100/],
  [budget({ thresholds: [256] }), "budgets[0].thresholds[0]", /256/],
  [budget({ top_ups: [{ amount_usd: "1", expires_at: "soon" }] }), "budgets[0]", /`expires_at`/],
  [budget({ top_ups: [{ amount_usd: 1, expires_at: "2030-01-01T00:00:00Z" }] }), "budgets[0].top_ups[0].amount_usd", /decimal string/],
  [budget({ top_ups: [{ expires_at: "2030-01-01T00:00:00Z" }] }), "budgets[0].top_ups[0]", /amount_usd/],
  [budget({ clamp_max_tokens: "yes" }), "budgets[0].clamp_max_tokens", /boolean/],
  [budget({ limit_usd: 5 }), "budgets[0].limit_usd", /decimal string/],
  [budget({ when_exceeded: [{ downgrade: "slow" }] }), "budgets[0].when_exceeded[0]", /no alias/],
  [{ permit: { max_cost_usd: "0" } }, "permit.max_cost_usd", /leave it out/],
  [{ permit: { max_cost_usd: 1 } }, "permit.max_cost_usd", /decimal string/],
  [{ permit: { session: { max_cost_usd: "1", window_s: 604_801 } } }, "permit.session.window_s", /not between/],
  [{ permit: { session: { window_s: 60 } } }, "permit.session", /max_cost_usd/],
  [{ permit: { expiry_charge: "all" } }, "permit.expiry_charge", /all/],
  [{ retry: { hedge: { after: 0 } } }, "retry.hedge.after", /not between/],
  [{ retry: { hedge: { after: "p99" } } }, "retry.hedge.after", /"p95" or a number of milliseconds/],
  [{ retry: { hedge: { max_percent: 21 } } }, "retry.hedge.max_percent", /not between/],
  [{ models: { fast: { targets: "x/y" } } }, "models.fast.targets", /expected a sequence/],
  [{ limits: Array.from({ length: 65 }, (_, i) => ({ id: `l${i}`, requests: 1, window_s: 1 })) }, "limits", /at most 64/],
];

test("each wrong document is refused at its place, and nothing changes", async () => {
  const good = { limits: [{ id: "rpm", requests: 5, window_s: 60 }], budgets: [{ id: "all", limit_usd: "1", period: "total" }] };
  const tenant = await site.tenant("documents", good);
  await tenant.chat(ask("sim-l0"));
  const before = await site.manage("GET", "/tenants/documents");
  for (const [config, param, words] of WRONG) {
    for (const [route, body] of [["/documents/config", config], ["/documents", { config }], ["/unmade", { config }]]) {
      const error = assertFailure(await site.admin("PUT", `/tenants${route}`, body), { ...FAILURES.field(param), admin: true });
      assert.match(error.message, words, JSON.stringify(config));
      assert.ok(error.message.startsWith(`\`${param}\`: `), error.message);
    }
  }
  assert.deepEqual(await site.manage("GET", "/tenants/documents"), before);
  assertFailure(await site.admin("GET", "/tenants/unmade"), { ...FAILURES.noPath, admin: true });
  const [{ used, limit: most }] = (await site.manage("GET", "/tenants/documents/limits")).data;
  assert.deepEqual([used, most], [1, 5]);
});

test("what is read can be written back, with every field that there is", async () => {
  const config = {
    models: { cheap: { target: "simulated/sim-small" } },
    limits: [
      { id: "a", scope: "key", tokens: 60_000, window_s: 60, when_exceeded: ["cache", { downgrade: "cheap" }, { wait_ms: 500 }, "reject"] },
      { id: "b", scope: "metadata:team", only: ["red"], cost_usd: "1.5", window_s: 60, algorithm: "token_bucket", burst: "3", mode: "shadow" },
      { id: "c", scope: "provider", only: ["simulated"], concurrency: 3, when_unreachable: "open" },
    ],
    budgets: [
      { id: "d", scope: "model", limit_usd: "5", period: "quarter", time_zone: "America/Sao_Paulo", thresholds: [50, 100],
        top_ups: [{ amount_usd: "1", expires_at: "2030-01-01T00:00:00.000Z" }], mode: "shadow" },
      { id: "e", scope: "tenant", limit_usd: "5", rolling_s: 604_800, when_exceeded: [{ downgrade: "simulated/sim-small" }], clamp_max_tokens: true },
    ],
    permit: { lifetime_s: 700, expiry_charge: "nothing", default_output_tokens: 100, max_cost_usd: "0.5", session: { max_cost_usd: "2", window_s: 3_600 } },
  };
  const { config: stored } = await site.manage("PUT", "/tenants/whole", { config });
  for (const [field, value] of Object.entries(config)) assert.deepEqual(stored[field], value, field);
  const again = await site.admin("PUT", "/tenants/whole/config", stored);
  assert.deepEqual([again.status, again.json.config], [200, stored]);
});
