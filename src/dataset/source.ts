import { BlindbeatError } from '../errors.ts';
import type { Expected } from './download/download.ts';

/** The folder where PhysioNet has the files of the CinC 2017 challenge. */
export const OFFICIAL = 'https://physionet.org/files/challenge-2017/1.0.0/';
/** PhysioNet's page about them, for people. */
export const PAGE = 'https://physionet.org/content/challenge-2017/1.0.0/';
/** PhysioNet's own copy at Amazon, faster than OFFICIAL. */
export const MIRROR = 'https://physionet-open.s3.amazonaws.com/challenge-2017/1.0.0/';

/** The recordings: WFDB records in a zip file. */
export const ZIP = 'training2017.zip';
/** Their labels, in the final version, 3. */
export const REFERENCE = 'REFERENCE-v3.csv';

/** Under which PhysioNet gives the set away. */
export const LICENCE = 'Open Data Commons Attribution License 1.0 (ODC-BY 1.0)';
/** What the licence and PhysioNet ask publications to cite. */
export const CITATIONS = [
  'Clifford GD et al. AF classification from a short single lead ECG recording: the PhysioNet/Computing in ' +
    'Cardiology Challenge 2017. Computing in Cardiology 2017. doi:10.22489/CinC.2017.065-469',
  'Goldberger AL et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101(23):e215-e220, 2000.',
];

/**
 * What the official files are, by name. PhysioNet publishes no checksums for this challenge, so these are of
 * others who have the files. The zip's SHA-256: the git-lfs pointer in the public repository ayanhmohammed/
 * ECG-Arrhythmia-Classification-Machine-Learning-Project (commit fe5460f, data/training2017.zip), which names
 * the size too, and, independent of it, another's note of a download from OFFICIAL in September 2026 and of
 * the same bytes at MIRROR. The labels' size: the copy in awerdich/physionet (commit 8624846), 8528 lines of
 * 9 bytes.
 */
export const FILES: Record<string, Expected> = {
  [REFERENCE]: { bytes: 76_752 },
  [ZIP]: {
    bytes: 99_226_822,
    sha256: '25fdbab36bb6724b66a4d2c26ff89f6b9d6ff87e6aed714d24cf5bf071cd1255',
  },
};

/** Records of each class in REFERENCE-v3.csv; older versions, of the same size, have other counts. */
export const LABELS = { N: 5076, A: 758, O: 2415, '~': 279 };

/**
 * Parses a `SHA256SUMS.txt`, lines of a checksum and a name, into checksums by name, in lower case.
 *
 * @throws BlindbeatError ENVIRONMENT for anything else, such as the login page of a network
 */
export function parseSums(text: string, url: string): Map<string, string> {
  const sums = new Map<string, string>();
  for (const line of text.split(/\r?\n/).filter((l) => l.trim() !== '')) {
    const [, sum, name] = /^([0-9a-f]{64})\s+\*?(?:\.\/)?(.+?)\s*$/i.exec(line) ?? [];
    if (!sum) {
      throw new BlindbeatError(
        'ENVIRONMENT',
        `${url} is no list of SHA-256 checksums; perhaps it is the login page of a network.`,
      );
    }
    sums.set(name, sum.toLowerCase());
  }
  return sums;
}
