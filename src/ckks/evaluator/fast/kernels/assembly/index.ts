export { forwardLoose, forwardTight, inverse } from './ntt';
export {
  add,
  addPeriodic,
  convert,
  copy,
  divide,
  fillZeros,
  findZero,
  multiplyPairs,
  periodicProducts,
  placeKey,
  shift,
  square,
  switchProducts,
  switchStart,
  turn,
} from './products';
export { lead, serve } from './work';
