import { Argument, type Command } from 'commander';
import { BlindbeatError } from '../../errors.ts';
import { SCOPES, type Scope, type Token, tokensIn } from '../../service/tokens.ts';
import { examples, jsonOption, listOption, number, oneOf } from '../options.ts';
import { coloursOf, type Io, printJson, printLines } from '../terminal/io.ts';
import { table } from '../terminal/table.ts';

interface TokenOptions {
  dataDir: string;
  scopes: Scope[];
  days?: number;
  json?: boolean;
}

const COLUMNS = ['id', 'name', 'scopes', 'expires'].map((title) => ({ title }));
const DAY_MS = 24 * 3_600_000;

/** `blindbeat token`: who may use a service. */
export function addToken(program: Command, io: Io): void {
  const command = program
    .command('token')
    .summary('make, list and revoke tokens of a service')
    .description(
      'Make, list and revoke the tokens by which clients show a service who they are. A service that runs notices ' +
        'within a second. A new token is printed once, on standard output, and kept nowhere; keys that are sent with ' +
        'it belong to it.',
    )
    .addArgument(new Argument('<action>', 'what to do').choices(['create', 'list', 'revoke']))
    .argument('[name]', 'of the token; to revoke one, its id does too')
    .requiredOption('--data-dir <dir>', "the service's folder")
    .addOption(
      listOption('--scopes <list>', `what a new token allows, of ${SCOPES.join(', ')}`, oneOf(SCOPES), [
        'infer',
        'keys',
      ]),
    )
    .option('--days <n>', 'how long a new token lasts (default: until it is revoked)', number(0.001, 36_500))
    .addOption(jsonOption())
    .action((action: keyof typeof ACTIONS, name: string | undefined, options: TokenOptions) =>
      ACTIONS[action](io, options, name),
    );
  examples(command, [
    'blindbeat token create ward-3 --data-dir data > ward-3.token',
    'blindbeat token create graphs --scopes metrics --data-dir data',
    'blindbeat token revoke ward-3 --data-dir data',
  ]);
}

const ACTIONS = {
  async create(io: Io, { dataDir, scopes, days, json }: TokenOptions, name?: string): Promise<void> {
    const expires = days === undefined ? null : new Date(Date.now() + days * DAY_MS);
    const { token, text } = await tokensIn(dataDir).create(named(name), scopes, expires);
    if (json) printJson(io, { ...shown(token), token: text });
    else {
      printLines(io.stdout, [text]);
      printLines(io.stderr, [
        `${token.name} may ${token.scopes.join(', ')}; this is the only time that it is shown`,
      ]);
    }
  },

  async list(io: Io, { dataDir, json }: TokenOptions): Promise<void> {
    const tokens = (await tokensIn(dataDir).list()).map(shown);
    if (json) printJson(io, { tokens });
    else if (tokens.length === 0) printLines(io.stdout, ['no tokens']);
    else {
      const rows = tokens.map(({ id, name, scopes, expires }) => [
        id,
        name,
        scopes.join(),
        expires ?? 'never',
      ]);
      printLines(io.stdout, table(COLUMNS, rows, coloursOf(io.stdout)));
    }
  },

  async revoke(io: Io, { dataDir, json }: TokenOptions, name?: string): Promise<void> {
    const token = await tokensIn(dataDir).revoke(named(name));
    if (json) printJson(io, shown(token));
    else printLines(io.stdout, [`${token.name} opens nothing more`]);
  },
};

function named(name?: string): string {
  if (name === undefined) throw new BlindbeatError('USAGE', 'which token? give its name');
  return name;
}

/** A token without its hash. */
function shown({ hash: _, ...token }: Token) {
  return token;
}
