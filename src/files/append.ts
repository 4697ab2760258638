import { constants, open, rename } from 'node:fs/promises';
import { explainWriting } from './output.ts';

/** Neither follows a link nor waits for a pipe that took the file's place. */
const FLAGS =
  constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Writes what arrives behind the first `size` bytes of a file, which is made if need be, for its owner alone; what it
 * had behind them is cut off.
 *
 * @param onWritten called with the bytes that the file has now, after each piece: they stay when the source throws
 * @throws BlindbeatError FILE if it cannot be written; what `pieces` throws
 */
export async function appendPieces(
  path: string,
  size: number,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  onWritten: (size: number) => void,
): Promise<void> {
  await explainWriting(path, async () => {
    await using file = await open(path, FLAGS, 0o600);
    await file.truncate(size);
    let end = size;
    for await (const piece of pieces) {
      await file.writeFile(piece); // all of it, where a write may take a part
      end += piece.length;
      onWritten(end);
    }
  });
}

/**
 * Gives a file that is complete its own name, once its bytes are on the disk.
 *
 * @throws BlindbeatError FILE
 */
export async function commitFile(from: string, to: string): Promise<void> {
  await explainWriting(to, async () => {
    await using file = await open(from, constants.O_RDWR | constants.O_NOFOLLOW);
    await file.sync();
    await rename(from, to);
  });
}
