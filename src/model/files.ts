import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BlindbeatError } from '../errors.ts';
import { readWhole } from '../files/input.ts';
import { makeFolder, OutputFiles } from '../files/output.ts';
import { MOST_WEIGHT_BYTES, parseModel, serialiseModel } from './format.ts';
import type { Model } from './model.ts';

const JSON_FILE = 'model.json';
const WEIGHTS_FILE = 'weights.bin';
/** Bytes of model.json; the shipped ones have 3 kB. */
const MOST_JSON_BYTES = 2 ** 20;

/**
 * Loads a model by the name of a shipped one (`deepcardio-deg2`) or by its folder.
 *
 * @throws BlindbeatError FILE if there is no such model, with the shipped ones; MODEL if its files do not fit
 */
export async function loadModel(nameOrFolder: string): Promise<Model> {
  const folder = await modelFolder(nameOrFolder);
  const read = (name: string, what: string, limit: number) =>
    readWhole(join(folder, name), { what, limit, tooLarge: 'MODEL' });
  const text = await read(JSON_FILE, 'the description of a model', MOST_JSON_BYTES);
  const weights = await read(WEIGHTS_FILE, 'the weights of a model', MOST_WEIGHT_BYTES);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(text));
  } catch (cause) {
    throw new BlindbeatError('MODEL', `${join(folder, JSON_FILE)} is not JSON. Was it written completely?`, {
      cause,
    });
  }
  try {
    return parseModel(json, weights);
  } catch (cause) {
    if (!(cause instanceof BlindbeatError)) throw cause;
    throw new BlindbeatError(cause.code, `${folder}: ${cause.message}`, { cause });
  }
}

/**
 * Writes model.json and weights.bin into `folder`, which is made if need be; they appear together, so that an
 * interrupted save leaves the old model.
 *
 * @throws BlindbeatError FILE if the folder cannot be written
 */
export async function saveModel(model: Model, folder: string): Promise<void> {
  const { json, weights } = serialiseModel(model);
  await makeFolder(folder);
  await using files = new OutputFiles();
  await files.write(join(folder, WEIGHTS_FILE), weights);
  await files.write(join(folder, JSON_FILE), `${JSON.stringify(json, null, 2)}\n`);
  await files.commit();
}

/** Names of the models that come with the package. */
export async function shippedModels(): Promise<string[]> {
  const root = shippedFolder();
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((e) => e.isDirectory() && existsSync(join(root, e.name, JSON_FILE)))
    .map((e) => e.name)
    .sort();
}

async function modelFolder(nameOrFolder: string): Promise<string> {
  const isName = /^[\w.-]+$/.test(nameOrFolder) && !/^\.+$/.test(nameOrFolder);
  const candidates = [...(isName ? [join(shippedFolder(), nameOrFolder)] : []), resolve(nameOrFolder)];
  const found = candidates.find((folder) => existsSync(join(folder, JSON_FILE)));
  if (found) return found;
  const names = await shippedModels();
  throw new BlindbeatError(
    'FILE',
    `There is no model "${nameOrFolder}": expected a folder with ${JSON_FILE} and ${WEIGHTS_FILE}, ` +
      `or the name of a shipped model (${names.join(', ') || 'there are none'}).`,
  );
}

/** models/ of the package root: the nearest folder upwards with a package.json, in a clone as in dist/. */
function shippedFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return join(folder, 'models');
}
