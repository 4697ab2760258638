import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import { CINC_CLASSES, type CincClass, parseReference } from '../../dataset/cinc2017.ts';
import { type Downloaded, download, type Expected } from '../../dataset/download/download.ts';
import { getText } from '../../dataset/download/http.ts';
import { openDataset } from '../../dataset/open.ts';
import {
  CITATIONS,
  FILES,
  LABELS,
  LICENCE,
  MIRROR,
  OFFICIAL,
  PAGE,
  parseSums,
  REFERENCE,
  ZIP,
} from '../../dataset/source.ts';
import { BlindbeatError } from '../../errors.ts';
import { readTextFile } from '../../files/input.ts';
import { makeFolder } from '../../files/output.ts';
import { formatBytes, formatCount } from '../../measure/format.ts';
import { examples, jsonOption } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { type Io, printJson, printLines, warn } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';

interface DataOptions {
  out: string;
  url?: string;
  json?: boolean;
}

type CheckedBy = 'known SHA-256' | 'SHA256SUMS.txt of the server' | 'size and labels';
type Fetched = Downloaded & { path: string; checkedBy: CheckedBy };

const MAX_SUMS_BYTES = 10e6;
const MAX_LABEL_BYTES = 10e6;
/** For servers with files of their own; the official zip has 99 MB. */
const MAX_FILE_BYTES = 2e9;

const INSTEAD =
  `What to do instead: fetch ${ZIP} and ${REFERENCE} in a browser from ${PAGE}, ` +
  'put them into one folder, and give that folder with --data.';

const DETAILS = `
The data: PhysioNet/CinC Challenge 2017, 8528 single-lead ECGs, 99 MB.
Licence: ${LICENCE}.
${PAGE}
The same files from PhysioNet's copy at Amazon, often faster: --url with
${MIRROR}
Checks: training2017.zip by a SHA-256 that blindbeat knows, the labels by size
and number; with --url by the server's SHA256SUMS.txt, if it has one.`;

/** `blindbeat data`: the recordings to train on. */
export function addData(program: Command, io: Io): void {
  const command = program
    .command('data')
    .summary('download the recordings to train on')
    .description(
      `Download a data set for train: ${ZIP} and its labels, ${REFERENCE}, into one folder. ` +
        'Every file is checked before it gets its name. ' +
        'What an interruption leaves is taken up by the next call.',
    )
    .addArgument(new Argument('<set>', 'name of the data set').choices(['cinc2017']))
    .requiredOption('-o, --out <dir>', 'folder for the files')
    .option('--url <address>', 'folder of another server with the same files')
    .addOption(jsonOption())
    .action(async (_set: string, options: DataOptions) => {
      await interruptible((signal) => data(options, io, signal));
    });
  examples(command, [
    'blindbeat data cinc2017 --out data',
    'blindbeat train --data data --out models/mine',
  ]).addHelpText('after', DETAILS);
}

async function data({ out, url, json }: DataOptions, io: Io, signal: AbortSignal): Promise<void> {
  const base = baseOf(url ?? OFFICIAL, io);
  await makeFolder(out);
  const source = new Source(base, url === undefined, io, json ?? false, signal);
  const { files, official } = await source.fetchAll(out).catch((error) => {
    throw withAdvice(error);
  });
  const { records, missing } = openDataset(out);
  if (missing.length > 0) {
    throw new BlindbeatError(
      'ENVIRONMENT',
      `${out} holds ${records.length} of the ${records.length + missing.length} records that ${REFERENCE} ` +
        'labels. If it has an older folder of records, move that away.',
    );
  }
  const classes = countLabels(records.map((r) => r.label));
  if (json) {
    printJson(io, {
      set: 'cinc2017',
      path: out,
      source: base,
      official,
      files,
      records: records.length,
      classes,
      licence: LICENCE,
      citations: CITATIONS,
    });
    return;
  }
  printLines(io.stdout, [
    ...files.map(describeFile),
    `${formatCount(records.length)} records: ${describeClasses(classes)}`,
    `Licence: ${LICENCE}. Publications cite:`,
    ...CITATIONS.map((citation) => `  ${citation}`),
    `Try: blindbeat train --data ${out} --out models/mine`,
  ]);
}

/** A server with the files, and how to tell that they are the right ones. */
class Source {
  readonly #base: string;
  readonly #official: boolean;
  readonly #io: Io;
  readonly #json: boolean;
  readonly #signal: AbortSignal;

  constructor(base: string, official: boolean, io: Io, json: boolean, signal: AbortSignal) {
    this.#base = base;
    this.#official = official;
    this.#io = io;
    this.#json = json;
    this.#signal = signal;
  }

  /**
   * Fetches the labels, which are small, and then the recordings, so that what is wrong shows early.
   * `official`: whether they are the challenge's.
   */
  async fetchAll(out: string): Promise<{ files: Fetched[]; official: boolean }> {
    const sums = await this.#sums();
    const labels = await this.#fetch(out, REFERENCE, sums);
    if (labels.checkedBy === 'size and labels') await requireOfficialLabels(labels);
    const zip = await this.#fetch(out, ZIP, sums);
    const official = zip.sha256 === FILES[ZIP].sha256;
    return { files: [labels, zip], official };
  }

  /** Checksums by name, if the server lists any. */
  async #sums(): Promise<Map<string, string>> {
    const url = `${this.#base}SHA256SUMS.txt`;
    const text = await getText(url, MAX_SUMS_BYTES, { signal: this.#signal });
    return text === null ? new Map() : parseSums(text, url);
  }

  async #fetch(out: string, name: string, sums: Map<string, string>): Promise<Fetched> {
    const path = join(out, name);
    const { expected, checkedBy } = this.#expected(name, sums);
    const start = progressOn(this.#io, this.#json);
    let task: ReturnType<typeof start> | undefined;
    let begun = 0;
    const end = () => task?.[Symbol.dispose]();
    try {
      const done = await download(`${this.#base}${name}`, path, {
        expected,
        maxBytes: MAX_FILE_BYTES,
        signal: this.#signal,
        onBody: (from, total) => {
          end();
          begun = from;
          const label = from === 0 ? name : `${name}, from ${formatBytes(from)} on`;
          task = start(label, { total: total === undefined ? 1 : total - from });
        },
        onProgress: (bytes) => task?.update(bytes - begun),
        onRetry: (error, waitMs) => {
          end();
          warn(this.#io, [`${error.message} Trying again in ${waitMs / 1000} s.`]);
        },
      });
      return { path, ...done, checkedBy };
    } finally {
      end();
    }
  }

  /** Another server may have other files if it vouches for them; the official one may not. */
  #expected(name: string, sums: Map<string, string>): { expected: Expected; checkedBy: CheckedBy } {
    const known = FILES[name];
    const listed = sums.get(name);
    if (listed !== undefined && !(this.#official && known.sha256)) {
      return { expected: { sha256: listed }, checkedBy: 'SHA256SUMS.txt of the server' };
    }
    return { expected: known, checkedBy: known.sha256 ? 'known SHA-256' : 'size and labels' };
  }
}

/** The labels that were fetched are removed if they are others, so that the next call gets them again. */
async function requireOfficialLabels({ path, status }: Fetched): Promise<void> {
  const got = countLabels([...parseReference(await readTextFile(path, 'labels', MAX_LABEL_BYTES)).values()]);
  if (CINC_CLASSES.every((label) => got[label] === LABELS[label])) return;
  if (status !== 'there') await rm(path, { force: true });
  throw new BlindbeatError(
    'ENVIRONMENT',
    `${path} is not the final version of the labels: ` +
      `expected ${describeClasses(LABELS)}; got ${describeClasses(got)}.`,
  );
}

function countLabels(labels: CincClass[]): Record<CincClass, number> {
  const counts = { N: 0, A: 0, O: 0, '~': 0 };
  for (const label of labels) counts[label]++;
  return counts;
}

function describeClasses(counts: Record<CincClass, number>): string {
  return CINC_CLASSES.map((label) => `${formatCount(counts[label])} ${label}`).join(', ');
}

function describeFile({ path, bytes, status, checkedBy }: Fetched): string {
  const words = { downloaded: 'downloaded', resumed: 'downloaded, the rest of it', there: 'already there' };
  return `${path}: ${words[status]}, ${formatBytes(bytes)}, checked (${checkedBy})`;
}

function baseOf(address: string, io: Io): string {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const web =
    url && /^https?:$/.test(url.protocol) && !url.search && !url.hash && !url.username && !url.password;
  if (!web) {
    throw new BlindbeatError(
      'USAGE',
      `--url: expected the address of a folder, such as ${OFFICIAL}, without a login, ? or #`,
    );
  }
  if (url.protocol === 'http:' && !/^(localhost|127\..*|\[::1\])$/.test(url.hostname)) {
    warn(io, [`${address} is not https: files and checksums could be changed on their way.`]);
  }
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}

/** Whatever the network or the server did, there is another way. */
function withAdvice(error: unknown): unknown {
  if (!(error instanceof BlindbeatError) || error.code !== 'ENVIRONMENT') return error;
  return new BlindbeatError(error.code, `${error.message}\n${INSTEAD}`, { cause: error });
}
