/** Cases of requests, keys and replies: containers under attack, and keys where they do not belong. */
import type { Client } from '../../src/ckks/client.ts';
import type { Server } from '../../src/ckks/server.ts';
import type { Random } from '../../src/ecg/random.ts';
import { randomModel } from '../../test/helpers/random-model.ts';
import { attacked, CONTAINER_ATTACKS, takeApart } from '../containers.ts';
import { containerProblem, type Kind, layoutOf, type Part, planHashOf, zeroPart } from '../oracles.ts';
import * as subject from '../subject.ts';
import { openClient, World } from '../subject.ts';
import { directed, type Expectation, pick, type Resources, type Subject, type Trial } from '../trial.ts';

const SMALL = { samples: 64, channels: [2], kernel: 3 };
const HOME = { keyBudget: 2.2e6 };
const FOREIGN = ['FORMAT', 'MISMATCH'] as const;
const MISUSE = ['FORMAT', 'MISMATCH', 'USAGE', 'INTERNAL'] as const;

/** Files of one plan: what attacks begin with. */
interface Files extends Record<Kind, Uint8Array> {}

/** Two plans, of the first one two key pairs; and good files of all. */
class Wire {
  readonly home: World;
  readonly other: World;
  /** A second server of the same plan as home's. */
  readonly twin: Server;
  readonly files: Files;
  readonly foreign: Record<string, Uint8Array>;
  /** A second request of the first key pair, and its reply. */
  readonly second: { request: Uint8Array; reply: Uint8Array };
  readonly layouts: Record<Kind, Part[]>;
  /** A client whose manifest is that of home with one prime more, its hash right. */
  readonly longer: Client;

  private constructor(home: World, other: World, twin: Server, longer: Client) {
    this.home = home;
    this.other = other;
    this.twin = twin;
    this.longer = longer;
    const filesOf = (world: World, secret: World['secret'], keyFile: Uint8Array): Files => {
      const request = world.client.encrypt(secret, world.segment(1));
      return {
        'secret key': subject.secretFile(secret, world.manifest),
        'evaluation keys': keyFile,
        request,
        reply: secret === world.secret ? world.server.evaluate(request, world.keys) : request,
      };
    };
    this.files = filesOf(home, home.secret, home.keyFile);
    const stranger = home.client.createSecretKey();
    const theirs = filesOf(home, stranger, home.keyFile);
    const elsewhere = filesOf(other, other.secret, other.keyFile);
    this.foreign = {
      'secret key of another pair': theirs['secret key'],
      'request of another pair': theirs.request,
      ...Object.fromEntries(
        Object.entries(elsewhere).map(([kind, file]) => [`${kind} of another plan`, file]),
      ),
      ...Object.fromEntries(Object.entries(this.files).map(([kind, file]) => [`${kind} of this pair`, file])),
    };
    const request = home.client.encrypt(home.secret, home.segment(2));
    this.second = { request, reply: home.server.evaluate(request, home.keys) };
    const kinds: Kind[] = ['secret key', 'evaluation keys', 'request', 'reply'];
    this.layouts = Object.fromEntries(
      kinds.map((kind) => [kind, layoutOf(kind, home.manifest)]),
    ) as Wire['layouts'];
  }

  static async open(): Promise<Wire> {
    const home = await World.open(randomModel(SMALL), HOME);
    const other = await World.open(randomModel({ ...SMALL, channels: [3], seed: 2 }), {
      outputs: 'scores+map',
    });
    const twin = await subject.openServer(home.model, HOME);
    return new Wire(home, other, twin, await openClient(withOnePrimeMore(home, other)));
  }

  /** What becomes of a file by the rules, for a file of a kind under the key pair of `home`, or any. */
  expectation(bytes: Uint8Array, kind: Kind, good: Uint8Array, anyKey: boolean): Expectation {
    const template = JSON.parse(new TextDecoder().decode(takeApart(good).header));
    let named = template.keyId;
    const header = (keyId: string) => {
      named = keyId;
      return anyKey || keyId === template.keyId ? JSON.stringify({ ...template, keyId }) : null;
    };
    const problem = containerProblem(bytes, kind, header, this.layouts[kind]);
    if (problem) return { must: 'refuse', why: problem };
    const { body } = takeApart(bytes);
    if (kind === 'secret key' && zeroPart(body, this.layouts[kind]))
      return { must: 'refuse', why: 'a limb of the secret key is zero' };
    if (kind === 'reply' && zeroPart(body, this.layouts[kind].slice(1, 2)))
      return { must: 'refuse', why: 'the second polynomial is zero: no evaluation gives that' };
    if (!/^[0-9a-f]{32}$/.test(named)) return { must: 'either', why: 'sound, its key pair has another name' };
    return {
      must: 'accept',
      why: bytes.length === good.length && same(bytes, good) ? 'it is the good one' : SOUND,
    };
  }

  resources(): Resources {
    const handles = [this.home.handles, this.other.handles, this.twin.liveHandles, this.longer.liveHandles];
    const kernelBytes = this.home.kernelBytes + this.other.kernelBytes + this.twin.memoryInUse;
    return { handles: handles.reduce((sum, count) => sum + count, 0), kernelBytes };
  }

  close(): void {
    this.longer[Symbol.dispose]();
    this.twin[Symbol.dispose]();
    this.home[Symbol.dispose]();
    this.other[Symbol.dispose]();
  }
}

const SOUND = 'canonical, to this plan and key pair, every residue below its prime';

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The manifest with one prime more before the special one, as an "update" would have it. */
function withOnePrimeMore({ manifest }: World, other: World): unknown {
  const { primes, spare = [], special } = manifest.parameters;
  const more = [...other.manifest.parameters.primes, ...otherPrimes(manifest.parameters.n)].find(
    (q) => ![...primes, ...spare, special].includes(q),
  );
  const all = [...primes, more!];
  const logQP = [...all, ...spare, special].reduce((sum, q) => sum + Math.log2(q), 0);
  const gadgets = manifest.keys.gadgets.map((gadget) => ({
    ...gadget,
    special: gadget.special.map((i) => (i >= primes.length ? i + 1 : i)),
  }));
  const content = {
    ...manifest,
    parameters: { ...manifest.parameters, primes: all, logQP },
    keys: { ...manifest.keys, gadgets },
  };
  return { ...content, planHash: planHashOf(content) };
}

/** Primes = 1 mod 2n from 2^26 upwards. */
function otherPrimes(n: number): number[] {
  const found: number[] = [];
  for (let q = 2 ** 26 + 1; found.length < 12; q += 2 * n) {
    let prime = true;
    for (let d = 3; d * d <= q && prime; d += 2) prime = q % d !== 0;
    if (prime) found.push(q);
  }
  return found;
}

type Misuse = (wire: Wire) => Omit<Trial, 'format' | 'attack' | 'codes'>;

const refuse = (why: string) => () => ({ must: 'refuse', why }) as const;

/** Uses of a key with what it does not belong to, and of one that is gone. */
const MISUSES: Record<string, Misuse> = {
  'a secret key encrypts under a manifest with one prime more': ({ longer, home }) => ({
    act: () => longer.encrypt(home.secret, home.segment(1)),
    expected: refuse('the key is of another plan'),
  }),
  'a secret key makes evaluation keys for a manifest with one prime more': ({ longer, home }) => ({
    act: () => subject.evaluationKeyFile(longer, home.secret),
    expected: refuse('the key is of another plan'),
  }),
  'a secret key is written for another manifest': ({ longer, home }) => ({
    act: () => subject.secretFile(home.secret, longer.manifest),
    expected: refuse('the key is of another plan'),
  }),
  'a secret key of another plan encrypts': ({ home, other }) => ({
    act: () => home.client.encrypt(other.secret, home.segment(1)),
    expected: refuse('the key is of another plan'),
  }),
  'a secret key of another plan decrypts': ({ home, other, files }) => ({
    act: () => subject.decrypt(home.client, other.secret, files.reply, files.request),
    expected: refuse('the key is of another plan'),
  }),
  'a disposed secret key encrypts': ({ home }) =>
    disposed(home, (s) => home.client.encrypt(s, home.segment(1))),
  'a disposed secret key makes evaluation keys': ({ home }) =>
    disposed(home, (s) => subject.evaluationKeyFile(home.client, s)),
  'a disposed secret key is written': ({ home }) =>
    disposed(home, (s) => subject.secretFile(s, home.manifest)),
  'a disposed secret key decrypts': ({ home, files }) =>
    disposed(home, (s) => subject.decrypt(home.client, s, files.reply, files.request)),
  'a secret key is disposed twice': ({ home }) => ({
    act: () => {
      const secret = home.client.createSecretKey();
      secret[Symbol.dispose]();
      secret[Symbol.dispose]();
    },
    expected: () => ({ must: 'accept', why: 'disposing again does nothing' }),
  }),
  'evaluation keys of another server compute': ({ home, other, files }) => ({
    act: () =>
      home.server.evaluate(files.request, { ...other.keys, keyId: home.keys.keyId } as typeof other.keys),
    expected: refuse('the keys are of another server'),
  }),
  'evaluation keys of another server of the same plan compute': ({ twin, files, home }) => ({
    act: () => twin.evaluate(files.request, home.keys),
    expected: refuse('the keys are of another server'),
  }),
  'disposed evaluation keys compute': ({ home, files }) => ({
    act: () => {
      const keys = home.server.loadKeys(home.keyFile);
      keys[Symbol.dispose]();
      home.server.evaluate(files.request, keys);
    },
    expected: refuse('the keys are gone'),
  }),
  'evaluation keys are disposed twice': ({ home, files }) => ({
    act: () => {
      const keys = home.server.loadKeys(home.keyFile);
      keys[Symbol.dispose]();
      keys[Symbol.dispose]();
      home.server.evaluate(files.request, home.keys);
    },
    expected: () => ({ must: 'accept', why: 'disposing again does nothing' }),
  }),
};

function disposed(home: World, use: (secret: World['secret']) => unknown): ReturnType<Misuse> {
  return {
    act: () => {
      const secret = subject.readSecret(subject.secretFile(home.secret, home.manifest), home.manifest);
      secret[Symbol.dispose]();
      use(secret);
    },
    expected: refuse('the key is gone'),
  };
}

/** A file under attack: random attacks, one or two after the other; or a whole file of elsewhere. */
function file(wire: Wire, good: Uint8Array, index: number, random: Random, kind: Kind) {
  const names = [...CONTAINER_ATTACKS, ...Object.keys(wire.foreign)];
  const first = directed(random, index, names, 0.8) ?? pick(random, CONTAINER_ATTACKS);
  if (first in wire.foreign) return { attack: first, bytes: wire.foreign[first] };
  const attacks =
    index >= names.length && random.next() < 0.25 ? [first, pick(random, CONTAINER_ATTACKS)] : [first];
  const material = { layout: wire.layouts[kind], foreign: wire.foreign };
  return { attack: attacks.join(', then '), bytes: attacked(good, attacks, random, material) };
}

/** What all three classes share. */
async function openWire(
  trial: (wire: Wire, index: number, random: Random) => Trial,
  good: (wire: Wire, round: number) => string | null = ({ home }, round) => home.check(round),
): Promise<Subject> {
  let wire = await Wire.open();
  let round = 0;
  return {
    trial: (index, random) => trial(wire, index, random),
    control: () => good(wire, ++round),
    resources: () => wire.resources(),
    renew: async () => {
      try {
        wire.close();
      } catch {
        // What is broken may not close; it is replaced.
      }
      wire = await Wire.open();
    },
    close: () => wire.close(),
  };
}

/** Requests to a server. */
export function openRequests(): Promise<Subject> {
  return openWire((wire, index, random) => {
    const { home, files } = wire;
    const { attack, bytes } = file(wire, files.request, index, random, 'request');
    return {
      format: 'request',
      attack,
      codes: FOREIGN,
      act: () => home.server.evaluate(bytes, home.keys),
      expected: () => wire.expectation(bytes, 'request', files.request, false),
      inspect: (reply) => replyProblem(wire, reply as Uint8Array, bytes),
    };
  });
}

/** What a server answers must be a sound reply, which its client reads or refuses to name a class from. */
function replyProblem(wire: Wire, reply: Uint8Array, request: Uint8Array): string | null {
  const { keyId } = JSON.parse(new TextDecoder().decode(takeApart(wire.files.request).header));
  const text = new TextDecoder().decode(takeApart(reply).header);
  const header = (found: string) => (found === keyId ? text : null);
  const problem = containerProblem(reply, 'reply', header, wire.layouts.reply);
  if (problem) return `the reply is not sound: ${problem}`;
  try {
    subject.decrypt(wire.home.client, wire.home.secret, reply, request);
    return null;
  } catch (error) {
    return (error as { code?: string }).code === 'UNCLASSIFIABLE' ? null : `the reply is refused: ${error}`;
  }
}

/** Evaluation keys, secret keys and their use. */
export function openKeys(): Promise<Subject> {
  const uses = Object.keys(MISUSES);
  return openWire((wire, index, random): Trial => {
    const misuse = directed(random, index, uses, 0.05);
    if (misuse !== null)
      return { format: 'use of keys', attack: misuse, codes: MISUSE, ...MISUSES[misuse](wire) };
    const place = index - uses.length;
    const kind = place % 4 === 0 ? 'evaluation keys' : 'secret key';
    const good = wire.files[kind];
    const ordinal = kind === 'secret key' ? place - Math.ceil(place / 4) : place / 4;
    const { attack, bytes } = file(wire, good, ordinal, random, kind);
    const expected = () => wire.expectation(bytes, kind, good, true);
    const act = kind === 'secret key' ? () => useSecret(wire, bytes) : () => useKeys(wire, bytes);
    return { format: kind, attack, codes: FOREIGN, act, expected };
  });
}

function useSecret({ home }: Wire, bytes: Uint8Array): void {
  const secret = subject.readSecret(bytes, home.manifest);
  home.client.encrypt(secret, home.segment(1));
  secret[Symbol.dispose]();
}

/** Loads and drops, and now and then computes: what the keys are does not matter to the server. */
function useKeys({ home, files }: Wire, bytes: Uint8Array): void {
  const keys = home.server.loadKeys(bytes);
  try {
    if (keys.keyId === home.keys.keyId) home.server.evaluate(files.request, keys);
  } finally {
    keys[Symbol.dispose]();
  }
}

/** Replies to a client. */
export function openReplies(): Promise<Subject> {
  return openWire((wire, index, random): Trial => {
    const { home, files, second } = wire;
    const replayed = index === 0 || random.next() < 0.01;
    const made = replayed
      ? { attack: 'the reply to another request', bytes: second.reply }
      : file(wire, files.reply, index - 1, random, 'reply');
    return {
      format: 'reply',
      attack: made.attack,
      codes: [...FOREIGN, 'UNCLASSIFIABLE'],
      act: () => subject.decrypt(home.client, home.secret, made.bytes, files.request),
      expected: () => {
        if (replayed) return { must: 'refuse', why: 'the reply is to another request' };
        const expected = wire.expectation(made.bytes, 'reply', files.reply, false);
        if (expected.must !== 'accept' || same(made.bytes, files.reply)) return expected;
        // Numbers of another computation: the client can tell only by its limit of scores.
        return { must: 'either', why: `${expected.why}; within the limit of scores` };
      },
      inspect: (result) => {
        const { scores } = result as { scores: number[] };
        const within = scores.length === 4 && scores.every((s) => Math.abs(s) <= home.manifest.scoreLimit);
        return within ? null : 'scores beyond the limit are handed on';
      },
    };
  });
}
