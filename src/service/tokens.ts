import { randomBytes, timingSafeEqual } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { hexDigest } from '../digest.ts';
import { BlindbeatError } from '../errors.ts';
import { inFile, readWhole } from '../files/input.ts';
import { makeFolder, writeOutput } from '../files/output.ts';
import { choice, type Fault, hex, list, name, parse, record, requireFormat } from '../schema.ts';

const FORMAT = 'blindbeat tokens';
const VERSION = 1;
const FAULT: Fault = { code: 'FORMAT', title: 'not a usable list of tokens', root: 'list' };
const MOST_TOKENS = 10_000;
const MAX_BYTES = 8 << 20;
const MOST_NAME = 64;
/** How long a change of the file may go unnoticed. */
const CHECKED_WITHIN_MS = 1000;

/** What a token allows: to classify; to send and delete its own keys; to read metrics; all of that. */
export const SCOPES = ['infer', 'keys', 'metrics', 'admin'] as const;
/** One of `SCOPES`. */
export type Scope = (typeof SCOPES)[number];

const ISO = 'a time such as 2026-01-31T12:00:00.000Z';
const time = () => v.pipe(v.string(ISO), v.isoTimestamp(ISO));

const TokenSchema = record({
  /** The owner of the keys that it sends. */
  id: hex(16),
  name: name(MOST_NAME),
  scopes: list(choice(SCOPES), SCOPES.length, 1),
  /** SHA-256 of the secret part, which is random, 256 bits: nothing is gained by a slower hash. */
  hash: hex(64),
  created: time(),
  expires: v.nullable(time()),
});
const FileSchema = record({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  tokens: list(TokenSchema, MOST_TOKENS),
});

/** A token as it is kept: without its secret. */
export type Token = v.InferOutput<typeof TokenSchema>;

/** `bb_`, the id, `_`, 32 random bytes in base64url. */
const PATTERN = /^bb_([0-9a-f]{16})_([\w-]{43})$/;

/**
 * The tokens of a service, in one file for its owner alone. It may be changed while the service runs, which notices
 * within a second.
 */
export class TokenFile {
  readonly #path: string;
  #tokens = new Map<string, Token>();
  #version = '';
  #checkedMs = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> | null = null;
  #wasThere = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** All tokens, in the order in which they were made. */
  async list(): Promise<Token[]> {
    await this.#refresh(0);
    return [...this.#tokens.values()];
  }

  /**
   * Whether requests need a token: as soon as there is a file, and for as long as this runs.
   *
   * @throws BlindbeatError FILE or FORMAT
   */
  async isRequired(): Promise<boolean> {
    await this.#refresh(CHECKED_WITHIN_MS);
    return this.#wasThere;
  }

  /** The token with an id, if it has not expired. */
  async withId(id: string): Promise<Token | undefined> {
    await this.#refresh(CHECKED_WITHIN_MS);
    const token = this.#tokens.get(id);
    return token && !hasExpired(token) ? token : undefined;
  }

  /**
   * The token that a text is, if it is one of ours and has not expired. How long it takes tells nothing about secrets.
   *
   * @throws BlindbeatError FILE or FORMAT
   */
  async verify(text: string): Promise<Token | undefined> {
    const [, id = '', secret = ''] = PATTERN.exec(text) ?? [];
    const token = await this.withId(id);
    const right = Buffer.from(token?.hash ?? '0'.repeat(64), 'hex');
    return timingSafeEqual(Buffer.from(hexDigest(secret), 'hex'), right) ? token : undefined;
  }

  /**
   * Makes a token and adds it to the file, which is made if need be.
   *
   * @param expires null for never
   * @returns the token, and its text, which is kept nowhere
   * @throws BlindbeatError USAGE for a name that is taken; FILE or FORMAT
   */
  async create(
    named: string,
    scopes: Scope[],
    expires: Date | null,
  ): Promise<{ token: Token; text: string }> {
    const tokens = await this.list();
    if (tokens.some((token) => token.name === named))
      throw new BlindbeatError(
        'USAGE',
        `there is a token named ${named}: choose another name, or revoke that one`,
      );
    const id = randomBytes(8).toString('hex');
    const secret = randomBytes(32).toString('base64url');
    const token = parse(
      TokenSchema,
      {
        ...{ id, name: named, scopes: [...new Set(scopes)], hash: hexDigest(secret) },
        ...{ created: new Date().toISOString(), expires: expires?.toISOString() ?? null },
      },
      { code: 'USAGE', title: 'no token can be made of this', root: 'token' },
    );
    await this.#write([...tokens, token]);
    return { token, text: `bb_${id}_${secret}` };
  }

  /**
   * Deletes a token.
   *
   * @param which its id or name
   * @throws BlindbeatError USAGE if there is none; FILE or FORMAT
   */
  async revoke(which: string): Promise<Token> {
    const tokens = await this.list();
    const found = tokens.find(({ id, name }) => id === which || name === which);
    if (!found) throw new BlindbeatError('USAGE', `there is no token ${which}: see \`blindbeat token list\``);
    await this.#write(tokens.filter((token) => token !== found));
    return found;
  }

  async #write(tokens: Token[]): Promise<void> {
    await makeFolder(dirname(this.#path));
    const text = `${JSON.stringify({ format: FORMAT, version: VERSION, tokens }, null, 1)}\n`;
    await writeOutput(this.#path, text, { mode: 0o600 });
    await this.#refresh(0);
  }

  /** Reads the file if it is another than it was, and nobody looked for so long. */
  #refresh(withinMs: number): Promise<void> {
    if (performance.now() - this.#checkedMs < withinMs) return Promise.resolve();
    this.#checking ??= this.#read().finally(() => {
      this.#checking = null;
    });
    return this.#checking;
  }

  async #read(): Promise<void> {
    const found = await stat(this.#path).catch((cause) => {
      if (cause.code === 'ENOENT') return null;
      throw new BlindbeatError('FILE', `${this.#path} cannot be read (${cause.code})`, { cause });
    });
    const version = found ? `${found.ino} ${found.size} ${found.mtimeMs}` : 'none';
    if (version !== this.#version) {
      this.#tokens = found ? await this.#parsed() : new Map();
      this.#version = version;
    }
    if (found) this.#wasThere = true;
    this.#checkedMs = performance.now();
  }

  async #parsed(): Promise<Map<string, Token>> {
    const bytes = await readWhole(this.#path, { what: 'a list of tokens', limit: MAX_BYTES });
    return inFile(this.#path, () => {
      let value: unknown;
      try {
        value = JSON.parse(new TextDecoder().decode(bytes));
      } catch (cause) {
        throw new BlindbeatError('FORMAT', `${FAULT.title}: it is no JSON`, { cause });
      }
      requireFormat(value, FORMAT, VERSION, FAULT);
      const { tokens } = parse(FileSchema, value, FAULT);
      return new Map(tokens.map((token) => [token.id, token]));
    });
  }
}

/** The tokens of a service, in its folder. */
export function tokensIn(dataDir: string): TokenFile {
  return new TokenFile(join(dataDir, 'tokens.json'));
}

/** Whether a token does something. */
export function allows(token: Pick<Token, 'scopes'>, scope: Scope): boolean {
  return token.scopes.includes(scope) || token.scopes.includes('admin');
}

function hasExpired({ expires }: Token): boolean {
  return expires !== null && Date.parse(expires) <= Date.now();
}
