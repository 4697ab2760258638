/**
 * What comes from outside is checked against schemas (valibot), from which its types are derived. Here are
 * the words that the schemas are made of, and what turns their findings into one BlindbeatError. What no
 * schema can say is checked by code beside the schema, once the structure is known to be sound.
 */
import * as v from 'valibot';
import { BlindbeatError, type ErrorCode } from './errors.ts';

/** How a value that is refused is reported. */
export interface Fault {
  code: ErrorCode;
  /** What the message begins with. */
  title: string;
  /** What the value as a whole is called. */
  root: string;
}

/** Problems that one message lists; it says how many more there are. */
const MOST_LISTED = 50;
/** Characters of a text from outside that a message repeats. */
const MOST_SHOWN = 48;
/** Characters that a text may have: more than any in a file of ours. */
const MOST_TEXT = 65536;
/**
 * What a file of JSON may hold, whatever its schema says: lists, objects and what is in them; how deep they
 * are in each other; characters of all its texts. A manifest has 1,500 values in 6 levels, a model 500 in 5.
 */
const MOST_VALUES = 20_000;
const MOST_LEVELS = 64;
const MOST_CHARACTERS = 2 ** 20;

/** What a name may be made of: words of letters and signs, each with a mark or two, one space between them. */
const NAME = /^(?! )(?:[\p{L}\p{N}\p{P}\p{S}]\p{M}{0,2}| (?! |$))+$/u;
/** Characters that are not seen, or turn the order of others around. */
const HIDDEN = /[\p{Default_Ignorable_Code_Point}\u2800]/u;
/** The blocks of scripts from right to left (Unicode, DerivedBidiClass.txt): they reorder what is beside them. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * A copy of its own of what JSON holds, frozen, so that what was checked stays as it was.
 *
 * @throws BlindbeatError of the fault's code for what is no JSON, or too much of it; takes milliseconds
 */
export function plain(value: unknown, fault: Fault): unknown {
  let values = 0;
  let characters = 0;
  const count = (more: number) => {
    values += more;
    if (values > MOST_VALUES) throw refusal(fault, [`more than ${MOST_VALUES} values`]);
  };
  const read = (text: string) => {
    characters += text.length;
    if (characters > MOST_CHARACTERS) throw refusal(fault, [`more than ${MOST_CHARACTERS} characters`]);
    return text;
  };
  const copy = (part: unknown, level: number): unknown => {
    if (typeof part === 'string') return read(part);
    if (typeof part === 'bigint' || typeof part === 'symbol' || typeof part === 'function')
      throw refusal(fault, [`a ${typeof part}, which is not of JSON`]);
    if (typeof part !== 'object' || part === null) return part;
    if (level > MOST_LEVELS)
      throw refusal(fault, [`more than ${MOST_LEVELS} lists or objects in each other`]);
    if (Array.isArray(part)) {
      count(part.length);
      return Object.freeze(Array.from(part, (item) => copy(item, level + 1)));
    }
    const keys = Object.keys(part);
    count(keys.length);
    const entries = keys.map((key) => [read(key), copy(part[key as keyof typeof part], level + 1)] as const);
    return Object.freeze(Object.fromEntries(entries));
  };
  return copy(value, 1);
}

/**
 * The value as its schema describes it: a copy with defaults filled in and without unknown fields.
 *
 * @throws BlindbeatError of the fault's code that lists all that is wrong
 */
export function parse<S extends v.GenericSchema>(schema: S, value: unknown, fault: Fault): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortPipeEarly: true });
  if (result.issues)
    refuse(
      fault,
      result.issues.map((issue) => describe(issue, fault.root)),
    );
  return result.output as v.InferOutput<S>;
}

/**
 * The value itself, typed by its schema, which has no defaults; unknown fields stay.
 *
 * @throws BlindbeatError of the fault's code that lists all that is wrong
 */
export function validate<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  fault: Fault,
): v.InferOutput<S> {
  parse(schema, value, fault);
  return value as v.InferOutput<S>;
}

/**
 * Refuses a file of another format or version before the rest of it is looked at, which would be noise.
 *
 * @throws BlindbeatError of the fault's code
 */
export function requireFormat(value: unknown, format: string, version: number, fault: Fault): void {
  parse(record({ format: v.literal(format, `"${format}"`) }), value, fault);
  const { version: found } = value as { version?: unknown };
  if (found === version) return;
  refuse(fault, [`version: expected ${version}, got ${shown(found)}; use the blindbeat that wrote it`]);
}

/**
 * Throws if there are problems.
 *
 * @throws BlindbeatError of the fault's code that lists them
 */
export function refuse(fault: Fault, problems: string[]): void {
  if (problems.length > 0) throw refusal(fault, problems);
}

function refusal({ code, title }: Fault, problems: string[]): BlindbeatError {
  const listed = problems.slice(0, MOST_LISTED);
  if (listed.length < problems.length) listed.push(`and ${problems.length - listed.length} more`);
  return new BlindbeatError(code, `${title}:\n  - ${listed.join('\n  - ')}`);
}

/** A text from outside, shortened, without what a terminal would obey, reorder or not show. */
export function printable(text: string): string {
  const visible = replaceInvisible(
    text.slice(0, MOST_SHOWN),
    (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`,
  );
  return text.length > MOST_SHOWN ? `${visible}...` : visible;
}

/**
 * Replaces every character that is no letter, mark, number, punctuation, symbol or blank, or that nobody sees:
 * controls and escape sequences, line breaks, marks of direction, joiners, halves of characters.
 *
 * @param kept characters of these that stay
 */
export function replaceInvisible(text: string, replace: (character: string) => string, kept = ''): string {
  return text.replace(INVISIBLE, (c) => (kept.includes(c) ? c : replace(c)));
}

const INVISIBLE = /[^\p{L}\p{M}\p{N}\p{P}\p{S} ]|[\p{Default_Ignorable_Code_Point}\u2800]/gu;

/** An object with these fields. */
export function record<const E extends v.ObjectEntries>(entries: E) {
  return v.object(entries, ({ path }) => {
    if (!path) return 'an object';
    // A field is missing: what it should have been, its own schema says.
    const field = entries[String(path[0].key)] as v.GenericSchema;
    return v.safeParse(field, undefined).issues?.[0].message ?? 'a value';
  });
}

/** One of these texts. */
export function choice<const T extends readonly string[]>(texts: T) {
  return v.picklist(texts, texts.map((text) => `"${text}"`).join(' or '));
}

/** A text of at least one character. */
export function text() {
  const words = `a text of 1 to ${MOST_TEXT} characters`;
  return v.pipe(v.string(words), v.nonEmpty(words), v.maxLength(MOST_TEXT, words));
}

/** A text of exactly so many characters 0 to 9 and a to f, as hashes and names of key pairs are written. */
export function hex(characters: number) {
  const words = `${characters} characters 0 to 9 and a to f`;
  return v.pipe(v.string(words), v.length(characters, words), v.regex(/^[0-9a-f]*$/, words));
}

/** A name to be shown as it is: visible characters from left to right, in one of their forms only (NFC). */
export function name(most: number) {
  const words = `a name of 1 to ${most} visible characters from left to right`;
  return v.pipe(
    v.string(words),
    v.maxLength(most, words),
    v.check(
      (text) =>
        NAME.test(text) && !HIDDEN.test(text) && !RIGHT_TO_LEFT.test(text) && text.normalize() === text,
      words,
    ),
  );
}

/** A list of names that nobody takes for each other: two at least, different in more than case and form. */
export function distinctNames(mostCharacters: number, most: number) {
  return v.pipe(
    list(name(mostCharacters), most, 2),
    v.check(
      (names) => new Set(names.map((text) => text.normalize('NFKC').toLowerCase())).size === names.length,
      'different names',
    ),
  );
}

/** A finite number. */
export function number() {
  return v.pipe(v.number('a number'), v.finite('a number'));
}

/** A finite number above 0. */
export function positive() {
  const words = 'a positive number';
  return v.pipe(v.number(words), v.finite(words), v.gtValue(0, words));
}

/** A finite number of at least 0. */
export function notNegative() {
  const words = 'a number of at least 0';
  return v.pipe(v.number(words), v.finite(words), v.minValue(0, words));
}

/** A number within these bounds. */
export function numberWithin(least: number, most: number) {
  const words = `a number from ${least} to ${most}`;
  return v.pipe(v.number(words), v.minValue(least, words), v.maxValue(most, words));
}

/** A power of two within these bounds, from 1 on. */
export function powerOfTwo(least: number, most: number) {
  const words = `a power of two from ${least} to ${most}`;
  return v.pipe(
    v.number(words),
    v.minValue(least, words),
    v.maxValue(most, words),
    v.check((value) => Number.isInteger(Math.log2(value)), words),
  );
}

/** A whole number within these bounds. */
export function wholeNumber(least: number, most: number) {
  const words = `a whole number from ${least} to ${most}`;
  return v.pipe(v.number(words), v.integer(words), v.minValue(least, words), v.maxValue(most, words));
}

/** A list of at least `least` and at most `most` items, which are only looked at when there are not more. */
export function list<S extends v.GenericSchema>(item: S, most: number, least: 0 | 1 | 2 = 0) {
  const words = `a list of at most ${most}`;
  return v.pipe(
    v.array(v.unknown(), words),
    v.maxLength(most, words),
    v.minLength(least, `at least ${['none', 'one', 'two'][least]}`),
    v.array(item),
  );
}

function describe({ path, message, input }: v.BaseIssue<unknown>, root: string): string {
  return `${path ? pathText(path) : root}: expected ${message}, got ${shown(input)}`;
}

/** `keys.galois[3].step` */
function pathText(path: { key: unknown }[]): string {
  return path
    .map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${printable(String(key))}`))
    .join('')
    .replace(/^\./, '');
}

/** What was got, in a few characters; of lists and objects no content. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return `"${printable(value)}"`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
