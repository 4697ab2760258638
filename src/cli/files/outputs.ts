import { OutputFiles, requireDistinct, requireWritable } from '../../files/output.ts';

/** A path, or undefined for a file that was not asked for; and what makes its content. */
type OutputFile = [path: string | undefined, make: () => string | Promise<string>];

/**
 * Before long work: whether the files that a command was asked for can be written.
 *
 * @param inputs what the command reads
 * @throws BlindbeatError FILE if one cannot be written, USAGE if it is another file of the same command
 */
export async function requireOutputs(paths: (string | undefined)[], inputs: string[] = []): Promise<void> {
  const outputs = paths.filter((path) => path !== undefined);
  for (const [i, path] of outputs.entries()) {
    for (const other of [...inputs, ...outputs.slice(0, i)]) requireDistinct(path, other);
    await requireWritable(path);
  }
}

/**
 * Writes the files that a command was asked for, all or none.
 *
 * @throws BlindbeatError FILE; INTERRUPTED when the signal is aborted
 */
export async function writeOutputs(files: OutputFile[], signal?: AbortSignal): Promise<void> {
  await using outputs = new OutputFiles();
  for (const [path, make] of files) {
    if (path !== undefined) await outputs.write(path, await make(), { signal });
  }
  await outputs.commit();
}
