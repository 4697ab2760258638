import { appendFile, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
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
 * An unfinished download, `NAME.part`, and beside it `NAME.part.json`, which says of what. All methods throw
 * BlindbeatError FILE if the disk refuses.
 */
export class PartFile {
  readonly path: string;
  readonly #notes: string;
  readonly #final: string;
  readonly #url: string;
  #state: 'none' | 'resumed' | 'begun' = 'none';
  #origin: Origin | undefined;
  #size = 0;

  private constructor(final: string, url: string) {
    this.path = `${final}.part`;
    this.#notes = `${this.path}.json`;
    this.#final = final;
    this.#url = url;
  }

  /** Takes up what an earlier attempt left of the same address, if that can be continued. */
  static async open(final: string, url: string): Promise<PartFile> {
    const part = new PartFile(final, url);
    const origin = await readOrigin(part.#notes, url);
    const found = await stat(part.path).catch(() => undefined);
    if (origin && found?.isFile() && found.size > 0 && found.size <= origin.total) {
      part.#state = 'resumed';
      part.#origin = origin;
      part.#size = found.size;
    }
    return part;
  }

  /** Bytes that are there. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of the whole file, if it can be continued. */
  get total(): number | undefined {
    return this.#origin?.total;
  }

  /** Whether it holds bytes of an earlier call. */
  get resumed(): boolean {
    return this.#state === 'resumed';
  }

  /** Of a request for what is missing. If-Range: where the server has another file now, all of that comes. */
  get rangeHeaders(): Record<string, string> {
    if (!this.#origin || this.#size === 0) return {};
    return { range: `bytes=${this.#size}-`, 'if-range': this.#origin.validator };
  }

  /** Begins anew. Without a validator and a total the file cannot be continued if it is cut off. */
  async restart(validator: string | undefined, total: number | undefined): Promise<void> {
    await this.discard();
    this.#state = 'begun';
    await explainWriting(this.path, async () => {
      if (validator && total !== undefined) {
        this.#origin = { url: this.#url, validator, total };
        await writeFile(this.#notes, JSON.stringify(this.#origin));
      }
      await writeFile(this.path, '');
    });
  }

  async append(chunk: Uint8Array): Promise<void> {
    await explainWriting(this.path, () => appendFile(this.path, chunk));
    this.#size += chunk.length;
  }

  /** Gives the file its name, once its bytes are on the disk. */
  async commit(): Promise<void> {
    await explainWriting(this.#final, async () => {
      const file = await open(this.path, 'r+');
      await file.sync().finally(() => file.close());
      await rename(this.path, this.#final);
      await rm(this.#notes, { force: true });
    });
  }

  /** After a failure: keeps what can be continued, and tells whether there is any. */
  async keep(): Promise<boolean> {
    const kept = this.#origin !== undefined && this.#size > 0;
    if (!kept && this.#state === 'begun') await this.discard().catch(() => {});
    return kept;
  }

  async discard(): Promise<void> {
    this.#state = 'none';
    this.#origin = undefined;
    this.#size = 0;
    await explainWriting(this.path, async () => {
      await rm(this.#notes, { force: true });
      await rm(this.path, { force: true });
    });
  }
}

/** What was noted, if it is of that address. */
async function readOrigin(path: string, url: string): Promise<Origin | undefined> {
  try {
    const found: Origin = JSON.parse(await readFile(path, 'utf8'));
    const fits = found.url === url && typeof found.validator === 'string' && found.total > 0;
    return fits ? found : undefined;
  } catch {
    return undefined; // none, or damaged: begin anew
  }
}
