from smoothl1._smoothl1_baseline import *
