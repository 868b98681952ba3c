import { clusterUnderLoad } from './cluster-under-load.ts';

clusterUnderLoad('default');
