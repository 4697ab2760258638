/** Changes of JSON: of its values by their type, and of its spelling. */
import type { Random } from '../src/ecg/random.ts';
import { pick } from './trial.ts';

type Holder = Record<string, unknown>;

const NUMBERS = [
  ...[-1, -0, 0, 0.5, 1, 2, 3, 7, 63, 64, 65, 128.5, 1024, 4096, 8192, 2 ** 24, 2 ** 27, 2 ** 31, 2 ** 32],
  ...[2 ** 53, 1e20, 1e300, 1e308, -1e308, 1e-9, 1e-300, 5e-324],
];
const TEXTS = [
  ...['', ' ', 'x', '__proto__', 'constructor', 'toString', '../../x', 'null', '0', '\ud800', 'e\u0301'],
  ...['\u001b[2J\u001b]0;x\u0007', '\u202etxt.exe', '\u200b', 'N\u0000', '\u2028', '😀', 'x'.repeat(1 << 17)],
];
/** Stands for lists in each other that `JSON.stringify` cannot write. */
const DEEP = '@deep:';

/** A changed value, and what was changed: the paths, without numbers. */
export interface Mutated {
  value: unknown;
  what: string;
}

/** Long lists of long or deep ones would fill the memory when they are written. */
const MOST_PARTS = 500_000;

/** A plain value with one to three of its parts changed. */
export function mutate(random: Random, value: unknown): Mutated {
  const root: Holder = { root: structuredClone(value) };
  const what: string[] = [];
  for (let edits = 1 + random.below(3); edits > 0; edits--) {
    const all = places(root, '');
    if (all.length === 0) break;
    const { holder, key, path } = pick(random, all);
    const before = structuredClone(root);
    const done = `${edit(random, holder, key, all)} ${path.slice(6) || 'everything'}`;
    if (weight(root) > MOST_PARTS) return { value: before.root, what: what.join(', ') || 'nothing changed' };
    what.push(done);
  }
  return { value: root.root, what: what.join(', ') };
}

/** How many parts a value has when it is written, counted no further than `MOST_PARTS`. */
function weight(value: unknown): number {
  if (typeof value === 'string' && value.startsWith(DEEP)) return Number(value.slice(DEEP.length));
  if (typeof value !== 'object' || value === null) return 1;
  let parts = 1;
  for (const part of Object.values(value)) {
    parts += weight(part);
    if (parts > MOST_PARTS) break;
  }
  return parts;
}

/** The text of a value, with what only text can have where `mutate` put it. */
export function toText(value: unknown, indent?: number): string {
  return (JSON.stringify(value, null, indent) ?? 'null').replace(/"@deep:(\d+)"/g, (_, levels) =>
    '['.repeat(levels).concat(']'.repeat(levels)),
  );
}

interface Place {
  holder: Holder;
  key: string;
  path: string;
}

/** Every part of a value, by what holds it; of a long list a few. */
function places(holder: Holder, path: string): Place[] {
  const keys = Object.keys(holder);
  const some = keys.length > 40 ? [...keys.slice(0, 20), ...keys.slice(-20)] : keys;
  return some.flatMap((key) => {
    const here = Array.isArray(holder) ? `${path}[]` : `${path}.${key.slice(0, 20)}`;
    const part = holder[key];
    const inside = typeof part === 'object' && part !== null ? places(part as Holder, here) : [];
    return [{ holder, key, path: here }, ...inside];
  });
}

function edit(random: Random, holder: Holder, key: string, all: Place[]): string {
  const old = holder[key];
  const kind = random.below(12);
  if (kind < 5) {
    holder[key] = sameType(random, old);
    return 'change';
  }
  if (kind < 7) {
    holder[key] = otherType(random, old);
    return 'retype';
  }
  if (kind < 8) {
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
    return 'remove';
  }
  if (kind < 9) {
    if (Array.isArray(holder)) holder.splice(Number(key), 0, structuredClone(old));
    else holder[pick(random, ['unknown', '__proto', 'toString', '\u202e'])] = otherType(random, null);
    return 'add';
  }
  if (kind < 10) {
    const { holder: from, key: other } = pick(random, all);
    holder[key] = structuredClone(from[other]); // a copy: a part may be within itself
    return 'replace';
  }
  if (kind < 11 && Array.isArray(old)) {
    holder[key] = Array.from(
      { length: pick(random, [65, 1025, 20_000]) },
      (_, i) => old[i % old.length] ?? 0,
    );
    return 'lengthen';
  }
  holder[key] = `${DEEP}${pick(random, [2, 60, 70, 2000, 100_000])}`;
  return 'nest';
}

function sameType(random: Random, old: unknown): unknown {
  if (typeof old === 'number') {
    const near = [old + 1, old - 1, 2 * old, old / 2, -old, old * (1 + 1e-9), old + 0.5];
    return random.below(2) ? pick(random, near) : pick(random, NUMBERS);
  }
  if (typeof old === 'string') {
    const at = random.below(old.length + 1);
    const near = [old.slice(0, at), `${old} `, old.toUpperCase(), old.slice(0, at) + pick(random, TEXTS)];
    return random.below(2) ? pick(random, near) : pick(random, TEXTS);
  }
  if (typeof old === 'boolean') return !old;
  if (Array.isArray(old)) return random.shuffle([...old]).slice(0, random.below(old.length + 1));
  return old === null ? undefined : {};
}

function otherType(random: Random, old: unknown): unknown {
  const plain = typeof old === 'object' ? 'object' : old; // one may have a toString that is no function
  const made = [String(plain), [old], { value: old }, null, true, [], {}, Number(plain) || 0, [[]]];
  return random.below(2) ? pick(random, made) : pick(random, [...NUMBERS, ...TEXTS]);
}

/** Other spellings of the text of an object; some mean the same, some nothing. */
const RESPELL: Record<string, (text: string, random: Random) => string | Uint8Array> = {
  'a key twice, the last one as it was': (text) => text.replace('{', '{"version":2,"planHash":"x",'),
  'a key twice, the last one changed': (text) => text.replace(/}\s*$/, ',"version":2}'),
  'a key escaped': (text) => text.replace('"version"', '"\\u0076ersion"'),
  'a byte-order mark': (text) => `\ufeff${text}`,
  'blanks around': (text, random) => `${' '.repeat(random.below(1000))}${text}\n\n`,
  'something behind': (text) => `${text}{}`,
  'a comma too many': (text) => text.replace(/}\s*$/, ',}'),
  'cut off': (text, random) => text.slice(0, random.below(text.length)),
  'a comment': (text) => `/* */${text}`,
  'a number beyond all': (text) => text.replace(/:(\d+)/, ':1e999'),
  'numbers with exponents': (text) => text.replace(/:(\d+)([,}])/g, ':$1e0$2'),
  'unknown depth': (text) => text.replace('{', `{"note":${'['.repeat(50_000)}${']'.repeat(50_000)},`),
  'deep objects': (text) => text.replace('{', `{"note":${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)},`),
  'only brackets': () => '['.repeat(500_000),
  'a prototype': (text) => text.replace('{', '{"__proto__":{"planHash":"x"},'),
  'many keys': (text) =>
    text.replace('{', `{${Array.from({ length: 50_000 }, (_, i) => `"k${i}":${i},`).join('')}`),
  'UTF-16': (text) => new Uint8Array(Buffer.from(text, 'utf16le')),
  'bytes that are no text': (text, random) => {
    const bytes = new TextEncoder().encode(text);
    bytes[random.below(bytes.length)] = 0xff;
    return bytes;
  },
  'one letter changed': (text, random) => {
    const at = random.below(text.length);
    return text.slice(0, at) + String.fromCharCode(32 + random.below(95)) + text.slice(at + 1);
  },
  empty: () => '',
  'no object': (_, random) => pick(random, ['null', '0', '""', '[]', 'true', '{}', '[[[[]]]]']),
};

/** Names of the spellings. */
export const SPELLINGS = Object.keys(RESPELL);

/** The bytes of a text in one of `SPELLINGS`. */
export function respell(random: Random, text: string, spelling: string): Uint8Array {
  const made = RESPELL[spelling](text, random);
  return typeof made === 'string' ? new TextEncoder().encode(made) : made;
}

/** What a text says, or undefined if it is no JSON. */
export function parsedOrUndefined(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
