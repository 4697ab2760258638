import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The version of the package that a file belongs to: of the nearest package.json upwards.
 *
 * @param file address of the file, `file:`; by default one of blindbeat's
 */
export function packageVersion(file = import.meta.url): string {
  let folder = dirname(fileURLToPath(file));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;
}
