import { clusterUnderLoad } from './cluster-under-load.ts';

clusterUnderLoad('replicated:1');
