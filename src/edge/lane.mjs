// Messages of one isolate to one object travel together when many requests are under way.
//
// A call to an object costs more than all of the gateway's own work. So a request that finds others under
// way waits a moment, and then one of them carries the messages of all and leaves the replies for the
// others to find. Each message is still decided by the object, one after the other. A request that is
// alone is never made to wait.
//
// The others look for their reply with timers of their own. A promise that one request settles for another
// would be simpler, but the runtime loses some: the waiting request then goes on in the wrong one's name.

/** What a request waits for company, in milliseconds. */
const GATHER_MS = 1;

/** How often it does that at most before it makes a call beside one that is under way. */
const MOST_GATHERS = 4;

/** Longest pause between two looks for a reply. */
const LONGEST_PAUSE_MS = 64;

/** An object that answers slower is far away: there the waiting would cost more than it saves. */
const NEAR_MS = 25;

/** Past it, whoever should have taken the message along is taken for dead. */
const RESCUE_MS = 100;

/** Past it, whoever carried the message is taken for dead. */
const PATIENCE_MS = 10_000;

/** Most messages in one call: what one turn of an object may take. */
const MOST = 64;

const pending = (seat) => seat.reply === undefined && seat.error === undefined;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Lane {
  /** @param {(reply: string) => void} unclaimed takes a reply that nobody waits for any more */
  constructor(unclaimed) {
    this.unclaimed = unclaimed;
    this.queue = []; // messages that wait for somebody to carry them
    this.flying = 0; // calls under way
    this.pace = 0; // milliseconds that a call takes, on average over about the last eight
    this.together = false; // whether the last call carried more than one message
  }

  get idle() {
    return this.flying === 0 && this.queue.length === 0;
  }

  /**
   * The reply to a message. `call` makes one call with messages that are separated by line feeds, and
   * resolves to as many replies. What it throws, all who travelled with it get.
   */
  async ask(message, call) {
    const crowded = this.together || !this.idle;
    if (!crowded || this.pace >= NEAR_MS) return this.#fly(message, call, 1);
    const seat = { message, taken: false, gone: false, reply: undefined, error: undefined };
    this.queue.push(seat);
    // Who comes first, or finds the next call full, makes one.
    if (this.queue.length % MOST === 1) await this.#carry(seat, call);
    if (pending(seat)) await this.#wait(seat, call);
    if (seat.error !== undefined) throw seat.error;
    return seat.reply;
  }

  /** Lets others join, and makes calls until this message is on its way: perhaps another took it already. */
  async #carry(own, call) {
    // While a call is under way more will come: fewer, fuller calls.
    for (let n = 0; n === 0 || (n < MOST_GATHERS && this.flying > 0); n += 1) await pause(GATHER_MS);
    while (!own.taken) await this.#take(call);
  }

  /** Carries those who have waited longest. */
  async #take(call) {
    const seats = this.queue.splice(0, MOST);
    for (const seat of seats) seat.taken = true;
    try {
      const replies = await this.#fly(seats.map((seat) => seat.message).join("\n"), call, seats.length);
      const each = replies.split("\n");
      seats.forEach((seat, i) => (seat.gone ? this.unclaimed(each[i]) : (seat.reply = each[i])));
    } catch (error) {
      for (const seat of seats) seat.error = error;
    }
  }

  async #wait(seat, call) {
    const began = Date.now();
    // Looking costs, too: the first look is when the reply should be there.
    let ms = GATHER_MS + Math.ceil(this.pace);
    for (;;) {
      await pause(ms);
      if (!pending(seat)) return;
      const waited = Date.now() - began;
      // Nobody came for it: whoever should have is gone.
      if (!seat.taken && waited >= RESCUE_MS) await this.#take(call);
      else if (waited >= PATIENCE_MS) {
        seat.gone = true;
        throw new Error("the object did not answer in time");
      }
      ms = ms > GATHER_MS + this.pace ? Math.min(2 * ms, LONGEST_PAUSE_MS) : GATHER_MS;
    }
  }

  async #fly(messages, call, count) {
    const began = Date.now();
    this.flying += 1;
    try {
      return await call(messages);
    } finally {
      this.flying -= 1;
      this.pace += (Date.now() - began - this.pace) / 8;
      this.together = count > 1;
    }
  }
}
