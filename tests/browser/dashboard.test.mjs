// The dashboard in a real browser. DASHBOARD_PICTURES names a folder to keep screenshots in.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { call, until } from "../gateway/call.mjs";
import { SECRETS, ask, nano, openSite } from "../gateway/site.mjs";
import { openBrowser, unable } from "./chromium.mjs";

const HOSTILE = '<img src=x onerror="window.ran=1">';
/** Nothing in the alphabet of tenant names is worse than a property that every object has. */
const WORST = ["constructor", "assets", "0", `a${"-".repeat(30)}0`];
const TWO_REFRESHES_MS = 12_000;
const PICTURES = process.env.DASHBOARD_PICTURES;

let site;
let acme;
let browser;

describe("the dashboard", { skip: unable }, () => {
  before(async () => {
    site = await openSite();
    acme = await site.tenant("acme", {
      limits: [{ id: "rpm", scope: "tenant", requests: 6, window_s: 60 }],
      budgets: [
        { id: "monthly", scope: "tenant", limit_usd: "0.002", period: "month" },
        { id: "each-key", scope: "key", limit_usd: "5", period: "day" },
      ],
    });
    await acme.newKey({ name: HOSTILE });
    const gone = await acme.newKey({ name: "old" });
    await site.manage("DELETE", `/tenants/acme/keys/${gone.id}`);
    for (const id of WORST) await site.manage("PUT", `/tenants/${id}`, {});
    assert.equal((await acme.chat(ask("sim-small-l0-n100"))).status, 200);
    assert.equal((await acme.chat(ask("sim-small-l0-n50"))).status, 200);
    assert.equal((await acme.chat(ask(`sim-small-l0-${HOSTILE}`))).status, 200);
    await acme.chat(ask("sim-small-e400"));
    for (let i = 0; i < 4; i += 1) await acme.chat(ask("sim-small-l0"));
    await acme.settled();
    await cron();
    browser = await openBrowser();
  });

  after(async () => {
    await Promise.all([browser?.close(), site?.close()]);
  });

  const cron = async () => {
    const answer = await fetch(`${site.gateway.controlUrl}/scheduled?cron=*&time=${Date.now()}`, { method: "POST" });
    assert.equal(answer.status, 200);
  };

  /** A page at a route, with the token entered unless `token` is null. */
  async function open(route, token = SECRETS.TOLLGATE_ADMIN_TOKEN) {
    const page = await browser.page();
    await page.look();
    await page.open(site.url + route);
    if (token !== null) await enter(page, token);
    return page;
  }

  async function enter(page, token) {
    await seen(page, "document.activeElement?.id === 'token'");
    await page.type(token);
    await page.press("Enter", 13);
  }

  const seen = (page, expression, limitMs) => until(expression, () => page.value(expression).catch(() => false), limitMs);
  const text = (page, id) => page.value(`document.getElementById(${JSON.stringify(id)}).innerText`);
  const message = async (page, pattern, limitMs) => {
    await seen(page, `${pattern}.test(document.getElementById("message").textContent) && !document.getElementById("message").hidden`, limitMs);
  };
  const shown = (page, id) => seen(page, `!document.getElementById(${JSON.stringify(id)}).hidden`);
  const cells = (page, id) => page.value(`[...document.querySelectorAll("#${id} tr")].map((row) => [...row.children].map((cell) => cell.textContent))`);

  async function picture(page, name) {
    if (!PICTURES) return;
    await mkdir(PICTURES, { recursive: true });
    await writeFile(path.join(PICTURES, `${name}.png`), await page.picture());
  }

  /** Nothing was complained about but the named answers of the control plane, and nothing came from elsewhere. */
  async function calm(page, allowed = /^$/) {
    assert.deepEqual(page.complaints.filter((one) => !allowed.test(one)), []);
    const elsewhere = page.requested.filter((url) => !url.startsWith(`${site.url}/`) && !url.startsWith("data:"));
    assert.deepEqual(elsewhere, []);
    assert.equal(await page.value("window.ran ?? null"), null);
    assert.equal(await page.value("document.querySelectorAll('main img, main script').length"), 0);
  }

  test("its pages are public, empty and strict", async () => {
    for (const route of ["/dashboard", "/dashboard/acme", "/dashboard/nobody", "/dashboard/assets/page.css", "/dashboard/assets/page.js"]) {
      const { status, headers, text: body } = await call(site.url + route);
      assert.equal(status, 200, route);
      assert.equal(
        headers["content-security-policy"],
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
      );
      assert.deepEqual([headers["x-content-type-options"], headers["referrer-policy"], headers["cache-control"]], ["nosniff", "no-referrer", "no-store"]);
      assert.match(headers["content-type"], /^text\/(html|css|javascript); charset=utf-8$/);
      for (const secret of ["acme", ...Object.values(SECRETS)]) assert.ok(!body.includes(secret), `${route} has ${secret}`);
    }
    for (const route of ["/dashboard/", "/dashboard/acme/x", "/dashboard/assets/mod.rs", "/dashboards"]) {
      assert.equal((await call(site.url + route)).status, 404, route);
    }
    const posted = await call(`${site.url}/dashboard`, { method: "POST", body: "" });
    assert.deepEqual([posted.status, posted.headers.allow], [405, "GET"]);
  });

  test("it asks for the token, says when it is wrong, and forgets it", async () => {
    const page = await open("/dashboard/acme", null);
    await shown(page, "ask");
    assert.equal(await page.value("document.querySelector('label[for=token]').textContent"), "Operator token");
    assert.ok(!page.requested.some((url) => url.includes("/admin/")));
    await picture(page, "ask");
    await enter(page, "wrong");
    await message(page, /does not accept this token/);
    assert.deepEqual(await page.value("[sessionStorage.length, localStorage.length]"), [0, 0]);
    await enter(page, "no töken");
    await message(page, /plain ASCII/);
    await page.value("document.getElementById('token').value = ''");
    await enter(page, SECRETS.TOLLGATE_ADMIN_TOKEN);
    await shown(page, "tenant");
    assert.deepEqual(await page.value("[sessionStorage.length, localStorage.length, document.cookie]"), [1, 0, ""]);
    assert.ok(!page.requested.some((url) => url.includes(SECRETS.TOLLGATE_ADMIN_TOKEN)));
    await page.value("document.getElementById('forget').click()");
    await shown(page, "ask");
    assert.equal(await page.value("sessionStorage.length"), 0);
    assert.equal(await text(page, "keys"), "");
    assert.doesNotMatch(await page.value("document.body.textContent"), /tg_acme_/);
    await calm(page, /^network: .* 401 /);
  });

  test("a tenant's figures are those of the control plane", async () => {
    const page = await open("/dashboard/acme");
    await shown(page, "tenant");
    const { data: budgets } = await site.manage("GET", "/tenants/acme/budgets");
    const parts = await page.value("[...document.querySelectorAll('.budget')].map((b) => b.textContent)");
    assert.equal(parts.length, budgets.length);
    const spent = budgets.find((b) => b.id === "monthly");
    assert.ok(nano(spent.spent_usd) > 0);
    const monthly = parts.find((part) => part.startsWith("monthly"));
    for (const piece of [`$${spent.spent_usd} spent`, "$0.00 held", `$${spent.remaining_usd} left`, "$0.002 for the tenant", `resets at ${spent.resets_at.slice(0, 10)}`]) {
      assert.ok(monthly.includes(piece), `${monthly} lacks ${piece}`);
    }
    const width = await page.value("Number(document.querySelector('.budget .spent').getAttribute('width'))");
    assert.ok(Math.abs(width - (100 * nano(budgets[0].spent_usd)) / nano(budgets[0].limit_usd)) < 0.02, String(width));

    const usage = await acme.usage();
    const total = usage.reduce((all, row) => all + row.requests, 0);
    const denied = usage.filter(({ outcome }) => outcome === "denied").reduce((all, row) => all + row.requests, 0);
    assert.equal(denied, 2);
    const cost = usage.reduce((all, row) => all + nano(row.cost_usd), 0);
    assert.match(await text(page, "tenant-facts"), new RegExp(`Requests\\s+${total - denied}\\s[^]*Denied\\s+${denied}\\s`));
    const models = await cells(page, "models");
    assert.equal(models.reduce((all, row) => all + Number(row[3]), 0), total);
    assert.equal(models.reduce((all, row) => all + nano(row[6].slice(1)), 0), cost);
    assert.ok(models.some((row) => row[1] === "429" && row[2] === "denied"));
    assert.ok((await page.value("document.querySelectorAll('#requests-chart .served').length")) > 0);
    assert.ok((await page.value("document.querySelectorAll('#requests-chart .denied').length")) > 0);
    assert.ok((await page.value("document.querySelectorAll('#cost-chart .cost').length")) > 0);
    const minutes = await cells(page, "minutes");
    assert.equal(minutes.reduce((all, row) => all + Number(row[1]) + Number(row[2]) + Number(row[3]), 0), total);

    const [limit] = await cells(page, "limits");
    assert.deepEqual(limit.slice(0, 3), ["rpm", "the tenant", "requests"]);
    assert.match(limit[3], /^\d of 6$/);
    await calm(page);
  });

  test("what tenants and callers chose is only ever text", async () => {
    const page = await open("/dashboard/acme");
    await shown(page, "tenant");
    const keys = await cells(page, "keys");
    assert.ok(keys.some(([name, state, key]) => name === HOSTILE && /^tg_acme_.{4}….{4}$/.test(key) && state === "active"), JSON.stringify(keys));
    assert.ok(keys.some(([name, state]) => name === "old" && state.startsWith("revoked ")));
    assert.ok((await cells(page, "models")).some(([name]) => name.includes(HOSTILE)));
    await calm(page);
    for (const id of WORST) {
      const other = await open(`/dashboard/${id}`);
      await shown(other, "tenant");
      assert.equal(await text(other, "title"), id);
      await calm(other);
    }
    const odd = await open(`/dashboard/${encodeURIComponent(HOSTILE)}`);
    await message(odd, /There is no tenant/);
    assert.equal(await text(odd, "title"), HOSTILE);
    await calm(odd, /^network: .* 40[04] /);
  });

  test("all tenants at a glance, each a way to its page", async () => {
    const page = await open("/dashboard");
    await shown(page, "fleet");
    const tenants = await cells(page, "tenants");
    assert.deepEqual(tenants.map(([id]) => id).sort(), ["acme", ...WORST].sort());
    const row = (await site.manage("GET", "/fleet")).data.find(({ id }) => id === "acme");
    const acmeRow = tenants.find(([id]) => id === "acme");
    assert.deepEqual(acmeRow.slice(1, 4), [String(row.requests), String(row.denied), `$${row.cost_usd}`]);
    assert.match(await text(page, "fleet-facts"), /Last cron run\s+\d\d:\d\d:\d\d\s+\d{4}-\d\d-\d\d, 5 tenants, 0 failed/);
    await picture(page, "fleet");
    await page.value("document.querySelector('a[href=\"/dashboard/acme\"]').click()");
    // The token lasts as long as the tab.
    await seen(page, "location.pathname === '/dashboard/acme' && !document.getElementById('tenant').hidden");
    await calm(page);
  });

  test("rules of every kind are shown in their unit, with whose they are and what they denied", async () => {
    const expires_at = new Date(Date.now() + 3_600_000).toISOString();
    const tenant = await site.tenant("rules", {
      limits: [
        { id: "tpm", scope: "metadata:team", tokens: 60_000, window_s: 60 },
        { id: "purse", cost_usd: "2.5", window_s: 3600, algorithm: "token_bucket", burst: "5" },
        { id: "at-once", concurrency: 7 },
        { id: "next", scope: "model", requests: 1, window_s: 600, mode: "shadow" },
        { id: "one", scope: "key", requests: 2, window_s: 600 },
      ],
      budgets: [
        { id: "berlin", limit_usd: "0.0004", period: "day", time_zone: "Europe/Berlin", thresholds: [1, 99], top_ups: [{ amount_usd: "0.0006", expires_at }] },
        { id: "rolling", scope: "model", limit_usd: "1", rolling_s: 2_592_000, mode: "shadow" },
      ],
    });
    const { key } = await tenant.newKey({ name: HOSTILE, metadata: { team: "red" } });
    for (let i = 0; i < 4; i += 1) await tenant.chat(ask("sim-rules-l0-n30"), { key });
    await tenant.settled();
    const page = await open("/dashboard/rules");
    await shown(page, "tenant");
    const limits = Object.fromEntries((await cells(page, "limits")).map(([id, whom, ...rest]) => [`${id} ${whom}`, rest]));
    const tokens = (await site.manage("GET", "/tenants/rules/limits")).data.find(({ id }) => id === "tpm").used;
    assert.ok(tokens > 0);
    assert.deepEqual(limits["tpm team red"].slice(0, 4), ["tokens", `${tokens} of 60,000`, (60_000 - tokens).toLocaleString("en-US"), "1 min"]);
    assert.deepEqual(limits["purse the tenant"][0], "money");
    assert.match(limits["purse the tenant"].slice(1, 4).join(" "), /^\$0\.0\d* of \$5\.00 \$[45]\.\d+ refills \$2\.50 in 1 h$/);
    assert.deepEqual(limits["at-once the tenant"], ["requests at a time", "0 of 7", "7", "–", "–"]);
    assert.deepEqual(limits["nextshadow model simulated/sim-rules-l0-n30"].slice(0, 3), ["requests", "1 of 1", "0"]);
    assert.deepEqual(limits[`one key ${HOSTILE}`].slice(0, 3), ["requests", "2 of 2", "0"]);
    const [berlin, rolling] = await page.value("[...document.querySelectorAll('.budget')].map((b) => b.textContent)");
    for (const piece of ["$0.001 for the tenant", "by the clocks of Europe/Berlin", "$0.0006 of it until ", "1 % reached "]) assert.ok(berlin.includes(piece), `${berlin} lacks ${piece}`);
    assert.ok(!berlin.includes("99 % reached"), berlin);
    for (const piece of ["rollingshadow", "$1.00 for model simulated/sim-rules-l0-n30", "in any 30 d"]) assert.ok(rolling.includes(piece), `${rolling} lacks ${piece}`);
    const denied = await cells(page, "violations");
    assert.deepEqual(denied.sort(), [["limit:nextshadow", HOSTILE, "1"], ["limit:one", HOSTILE, "2"]]);
    await picture(page, "rules");
    await calm(page);
  });

  test("unknown and empty tenants are told apart", async () => {
    const unknown = await open("/dashboard/nobody");
    await message(unknown, /There is no tenant “nobody”/);
    await calm(unknown, /^network: .* 404 /);
    const empty = await open("/dashboard/constructor");
    await shown(empty, "tenant");
    const all = await text(empty, "tenant");
    for (const words of ["No requests in the last hour", "No budgets", "No limits", "No keys", "Nothing was denied"]) assert.ok(all.includes(words), words);
    await picture(empty, "empty");
    await calm(empty);
  });

  test("it is as wide as the screen, light and dark", async () => {
    const page = await open("/dashboard/acme");
    await shown(page, "tenant");
    const looks = [["desktop-light", {}], ["desktop-dark", { scheme: "dark" }], ["mobile-light", { width: 380 }], ["mobile-dark", { width: 380, scheme: "dark" }]];
    const backs = new Set();
    for (const [name, look] of looks) {
      await page.look(look);
      assert.equal(await page.value("document.documentElement.scrollWidth"), look.width ?? 1280, name);
      backs.add(await page.value("getComputedStyle(document.body).backgroundColor"));
      await picture(page, name);
    }
    assert.equal(backs.size, 2);
    await calm(page);
  });

  test("every control and table has its name", async () => {
    const page = await open("/dashboard/acme");
    await shown(page, "tenant");
    await page.send("Accessibility.enable");
    const { nodes } = await page.send("Accessibility.getFullAXTree");
    const named = nodes.filter(({ ignored, role }) => !ignored && ["button", "textbox", "link", "image", "region", "columnheader", "rowheader", "heading"].includes(role?.value));
    assert.ok(named.length > 20);
    assert.deepEqual(named.filter(({ name }) => !name?.value).map(({ role }) => role.value), []);
    await calm(page);
  });

  test("what is held shows while a request is under way, and is gone afterwards", async () => {
    const holder = await site.tenant("holder", { budgets: [{ id: "all", limit_usd: "0.001", period: "total" }] });
    const asking = holder.chat(ask("sim-small-l4000-n10"));
    await until("something is held", async () => (await holder.budget()).held_usd !== "0");
    const { held_usd: held } = await holder.budget();
    const page = await open("/dashboard/holder");
    await shown(page, "tenant");
    assert.match(await text(page, "budgets"), /never resets/);
    assert.ok((await text(page, "budgets")).includes(`$${held} held`));
    const width = await page.value("Number(document.querySelector('.budget .held').getAttribute('width'))");
    assert.ok(Math.abs(width - (100 * nano(held)) / nano("0.001")) < 0.02, String(width));
    assert.match(await text(page, "tenant-facts"), /Under way\s+1\s/);
    await picture(page, "held");
    assert.equal((await asking).status, 200);
    await seen(page, "document.getElementById('budgets').textContent.includes('$0.00 held')", TWO_REFRESHES_MS);
    await calm(page);
  });

  test("it follows along by itself, and says when the gateway is gone", async () => {
    const page = await open("/dashboard/0");
    await shown(page, "tenant");
    assert.match(await text(page, "keys"), /No keys/);
    await site.manage("POST", "/tenants/0/keys", { name: "made later" });
    await seen(page, "document.getElementById('keys').textContent.includes('made later')", TWO_REFRESHES_MS);
    const { port } = site.gateway;
    await site.gateway.stop();
    await message(page, /cannot be reached.*The figures below are from \d\d:\d\d:\d\d/, TWO_REFRESHES_MS);
    assert.match(await text(page, "keys"), /made later/);
    await picture(page, "unreachable");
    site.options.port = port;
    site.options.env.TOLLGATE_ADMIN_TOKEN = "another";
    await site.start();
    await message(page, /does not accept this token/, TWO_REFRESHES_MS);
    assert.equal(await text(page, "keys"), "");
    await calm(page, /^network: .*(401|ERR_)/);
  });

  test("without an operator token it says that the control plane is closed", async () => {
    await site.gateway.stop();
    site.options.env.TOLLGATE_ADMIN_TOKEN = undefined;
    await site.start();
    const page = await open("/dashboard/acme", null);
    await message(page, /control plane is closed.*TOLLGATE_ADMIN_TOKEN/);
    assert.equal(await page.value("document.getElementById('ask').hidden"), true);
    await picture(page, "closed");
    await calm(page);
  });
});
