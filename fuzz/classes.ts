import { openEcg } from './classes/ecg.ts';
import { openManifests } from './classes/manifests.ts';
import { openModels } from './classes/models.ts';
import { openKeys, openReplies, openRequests } from './classes/wire.ts';
import type { Subject } from './trial.ts';

/** A class of cases. */
interface FuzzClass {
  open(): Promise<Subject>;
  /** Of all cases of a run over every class; keys are large, so they get fewest. */
  share: number;
}

/** The classes by their name. */
export const CLASSES: Record<string, FuzzClass> = {
  requests: { open: openRequests, share: 0.1 },
  keys: { open: openKeys, share: 0.03 },
  manifests: { open: openManifests, share: 0.43 },
  replies: { open: openReplies, share: 0.12 },
  models: { open: openModels, share: 0.12 },
  ecg: { open: openEcg, share: 0.2 },
};
