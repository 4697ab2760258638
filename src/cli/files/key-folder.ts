import { readSecretKey, type SecretKey } from '../../ckks/secret/secret-key.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { readContainerFile } from '../../client/container-files.ts';
import { keyFiles, openToOthers } from '../../client/key-storage/key-folder.ts';
import { inFile, isReadableByOthers } from '../../files/input.ts';
import { type Io, warn } from '../terminal/io.ts';
import { readManifest } from './input.ts';

/**
 * Reads the manifest and the secret key of a folder of keys.
 *
 * @throws BlindbeatError FILE, FORMAT or MISMATCH
 */
export async function readKeyFolder(
  folder: string,
  io: Io,
): Promise<{ manifest: ParsedManifest; secret: SecretKey }> {
  const files = keyFiles(folder);
  const manifest = await readManifest(files.manifest);
  const bytes = await readContainerFile(files.secretKey, 'secret key', manifest);
  if (await isReadableByOthers(files.secretKey)) {
    warn(io, [openToOthers(files.secretKey)]);
  }
  try {
    return { manifest, secret: await inFile(files.secretKey, () => readSecretKey(bytes, manifest)) };
  } finally {
    bytes.fill(0);
  }
}
