import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BlindbeatError } from '../errors.ts';
import { isFile, readWholeNow } from '../files/input.ts';
import { type Dataset, type FileSource, listRecords, parseReference } from './cinc2017.ts';
import { PAGE, REFERENCE, ZIP } from './source.ts';
import { unzip } from './zip.ts';

/** What the zip file unpacks to. */
const FOLDER = 'training2017';
const MOST_ZIP_BYTES = 2e9;
/** The official set has 142 MB in files of up to 37 kB. */
const MOST_UNPACKED = { file: 100e6, all: 1e9 };
const MOST_LABEL_BYTES = 10e6;

/**
 * Opens the CinC 2017 training set: `training2017.zip`, the folder that it unpacks to, or a folder that holds
 * one of them, with `REFERENCE-v3.csv` inside or beside. A zip file is unpacked into memory (130 MB for 7249
 * records), a folder is read record by record.
 *
 * @throws BlindbeatError ENVIRONMENT if there is no such set, with the places that were looked at, no labels,
 * or a zip file that cannot be unpacked; ECG for a line of the labels that does not fit
 */
export function openDataset(path: string): Dataset {
  const candidates = [path, join(path, FOLDER), join(path, ZIP)];
  const found = candidates.find((c) => isFile(c) || holdsRecords(c));
  if (!found) {
    throw new BlindbeatError(
      'ENVIRONMENT',
      `There is no CinC 2017 data set at ${path}. ` +
        `Looked for: a zip file, *.hea in it, ${FOLDER}/*.hea, ${ZIP}. ` +
        `Get it by \`blindbeat data cinc2017 --out DIR\`, or put ${ZIP} and ${REFERENCE} of ${PAGE} ` +
        'into one folder.',
    );
  }
  const source = isFile(found) ? openZip(found) : openFolder(found);
  const labels = parseReference(readReference(source, found));
  const { records, missing } = listRecords(source, labels);
  if (records.length === 0) {
    throw new BlindbeatError('ENVIRONMENT', `${found} holds none of the records that ${REFERENCE} labels.`);
  }
  return { records, missing };
}

function readReference(source: FileSource, found: string): string {
  if (source.has(REFERENCE)) return new TextDecoder().decode(source.read(REFERENCE));
  const beside = join(dirname(found), REFERENCE);
  if (isFile(beside))
    return new TextDecoder().decode(readWholeNow(beside, { what: 'labels', limit: MOST_LABEL_BYTES }));
  throw new BlindbeatError(
    'ENVIRONMENT',
    `The labels ${REFERENCE} are neither inside ${found} nor at ${beside}. ` +
      `The set's older label files will not do: take ${REFERENCE} from ${PAGE}.`,
  );
}

function openFolder(folder: string): FileSource {
  return {
    has: (name) => isFile(join(folder, name)),
    read: (name) => readWholeNow(join(folder, name), { what: 'a record', limit: MOST_UNPACKED.file }),
  };
}

/** All the records' files of a zip, by name without folders. */
function openZip(path: string): FileSource {
  const files = new Map<string, Uint8Array>();
  const zip = readWholeNow(path, { what: 'a zip file of records', limit: MOST_ZIP_BYTES });
  try {
    const wanted = /\.(hea|mat)$|(^|\/)REFERENCE-v3\.csv$/;
    const all = unzip(zip, wanted, MOST_UNPACKED);
    for (const [name, bytes] of all) files.set(name.slice(name.lastIndexOf('/') + 1), bytes);
  } catch (cause) {
    const { message } = cause as Error;
    throw new BlindbeatError(
      'ENVIRONMENT',
      `${path} cannot be unpacked: ${message}. Expected the official ${ZIP}. Download it again.`,
      { cause },
    );
  }
  return {
    has: (name) => files.has(name),
    read: (name) => files.get(name)!,
  };
}

function holdsRecords(path: string): boolean {
  try {
    return readdirSync(path).some((name) => name.endsWith('.hea'));
  } catch {
    return false; // no folder, or not one that we may look into
  }
}
