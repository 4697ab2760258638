import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { explainWriting } from '../../files/output.ts';

/** What is noted beside an unfinished file: whether the rest still belongs to it. */
interface Origin {
  url: string;
  /** ETag or Last-Modified. */
  validator: string;
  /** Bytes of the whole file. */
  total: number;
}

/**
 * An unfinished download, `NAME.part`, and beside it `NAME.part.json`, which says of what. Its SHA-256 grows with it.
 * Without a commit both stay, for the next attempt. All methods throw BlindbeatError FILE if the disk refuses.
 */
export class PartFile implements AsyncDisposable {
  readonly path: string;
  readonly #final: string;
  readonly #url: string;
  #file: FileHandle | undefined;
  #origin: Origin | undefined;
  #hash = createHash('sha256');
  #size = 0;
  #resumed = false;

  private constructor(final: string, url: string) {
    this.path = `${final}.part`;
    this.#final = final;
    this.#url = url;
  }

  /** Takes up what an earlier attempt left of the same address, if that can be continued. */
  static async open(final: string, url: string): Promise<PartFile> {
    const part = new PartFile(final, url);
    const origin = await readOrigin(part.#notes, url);
    const size = await stat(part.path).then(
      (found) => (found.isFile() ? found.size : 0),
      () => 0,
    );
    if (origin === undefined || size === 0 || size > origin.total) return part;
    await explainWriting(part.path, async () => {
      for await (const chunk of createReadStream(part.path)) part.#hash.update(chunk);
      part.#file = await open(part.path, 'a');
    });
    part.#size = size;
    part.#origin = origin;
    part.#resumed = true;
    return part;
  }

  get #notes(): string {
    return `${this.path}.json`;
  }

  get size(): number {
    return this.#size;
  }

  get origin(): Origin | undefined {
    return this.#origin;
  }

  /** Whether it holds bytes of an earlier attempt. */
  get resumed(): boolean {
    return this.#resumed;
  }

  get complete(): boolean {
    return this.#size > 0 && this.#size === this.#origin?.total;
  }

  /** Begins anew. Without a validator and a total the file cannot be continued if it is cut off. */
  async restart(validator?: string | null, total?: number): Promise<void> {
    await this.discard();
    await explainWriting(this.path, async () => {
      if (validator && total !== undefined) {
        this.#origin = { url: this.#url, validator, total };
        await writeFile(this.#notes, JSON.stringify(this.#origin));
      }
      this.#file = await open(this.path, 'w');
    });
  }

  async append(chunk: Uint8Array): Promise<void> {
    await explainWriting(this.path, async () => this.#file?.writeFile(chunk));
    this.#hash.update(chunk);
    this.#size += chunk.length;
  }

  /** SHA-256 of what is there, hexadecimal. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Gives the file its name. */
  async commit(): Promise<void> {
    await explainWriting(this.#final, async () => {
      await this.#file?.sync();
      await this.#close();
      await rename(this.path, this.#final);
      await rm(this.#notes, { force: true });
    });
  }

  async discard(): Promise<void> {
    await this.#close();
    this.#origin = undefined;
    this.#hash = createHash('sha256');
    this.#size = 0;
    this.#resumed = false;
    await explainWriting(this.path, async () => {
      await rm(this.#notes, { force: true });
      await rm(this.path, { force: true });
    });
  }

  /** What cannot be continued is not kept. */
  async [Symbol.asyncDispose](): Promise<void> {
    const opened = this.#file !== undefined;
    await this.#close();
    if (opened && (this.#origin === undefined || this.#size === 0)) await this.discard().catch(() => {});
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

async function readOrigin(path: string, url: string): Promise<Origin | undefined> {
  try {
    const found: Origin = JSON.parse(await readFile(path, 'utf8'));
    const fits = found.url === url && typeof found.validator === 'string' && found.total > 0;
    return fits ? found : undefined;
  } catch {
    return undefined; // none, or damaged: begin anew
  }
}
